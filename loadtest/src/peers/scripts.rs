//! The job as Redis scripts: an organization is a hash with a field for the last number of each camera, and `b` for the balance.
//!
//! Each answers how many debits it charged. A number that is not above the camera's last one is a duplicate; a debit that the balance
//! cannot pay is refused alone.

/// One debit: camera, number, tokens.
pub(super) const ONE: &str = "\
local seen = redis.call('HMGET', KEYS[1], ARGV[1], 'b')
if seen[1] and tonumber(seen[1]) >= tonumber(ARGV[2]) then return 0 end
local left = tonumber(seen[2]) - tonumber(ARGV[3])
if left < 0 then return 0 end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2], 'b', left)
return 1";

/// Many debits of different cameras as arguments: all cameras with `b` after them, then all numbers, then all tokens.
pub(super) const MANY_ARGUMENTS: &str = "\
local n = (#ARGV - 1) / 3
local seen = redis.call('HMGET', KEYS[1], unpack(ARGV, 1, n + 1))
local left, set, k = tonumber(seen[n + 1]), {}, 0
for i = 1, n do
  local seq = ARGV[n + 1 + i]
  if not (seen[i] and tonumber(seen[i]) >= tonumber(seq)) then
    local rest = left - tonumber(ARGV[2 * n + 1 + i])
    if rest >= 0 then
      left = rest
      set[k + 1] = ARGV[i]
      set[k + 2] = seq
      k = k + 2
    end
  end
end
if k > 0 then redis.call('HSET', KEYS[1], 'b', left, unpack(set, 1, k)) end
return k / 2";

/// Many debits of different cameras as one MessagePack blob: a list of cameras with `b` after them, one of numbers, one of tokens.
pub(super) const MANY_BLOB: &str = "\
local blob = cmsgpack.unpack(ARGV[1])
local cameras, seqs, tokens = blob[1], blob[2], blob[3]
local n = #seqs
local seen = redis.call('HMGET', KEYS[1], unpack(cameras, 1, n + 1))
local left, set, k = tonumber(seen[n + 1]), {}, 0
for i = 1, n do
  local seq, last = seqs[i], seen[i]
  if not (last and tonumber(last) >= seq) then
    local rest = left - tokens[i]
    if rest >= 0 then
      left = rest
      set[k + 1] = cameras[i]
      set[k + 2] = seq
      k = k + 2
    end
  end
end
if k > 0 then redis.call('HSET', KEYS[1], 'b', left, unpack(set, 1, k)) end
return k / 2";
