//! The smallest parts of stored bytes: varints, slices, bitmaps.
//!
//! A varint is LEB128 of at most ten bytes in its shortest form. A bitmap has its first row in the lowest bit of
//! its first byte; the bits past the last row are zero. Each value has one form only, so equal content is equal bytes.

use super::decode_error::DecodeError;

/// Appends `value` as a varint.
#[inline]
pub fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value > 0x7f {
        let [low, ..] = value.to_le_bytes();
        out.push(low | 0x80);
        value >>= 7;
    }
    let [low, ..] = value.to_le_bytes();
    out.push(low);
}

/// Takes a varint off the front of `from`.
///
/// # Errors
/// When it is cut off, passes 64 bits, or is longer than it need be.
#[inline]
pub fn take_varint(from: &mut &[u8]) -> Result<u64, DecodeError> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let byte = take_u8(from)?;
        let bits = u64::from(byte & 0x7f);
        if shift == 63 && byte > 1 {
            return Err(DecodeError("a varint passes 64 bits"));
        }
        value |= bits << shift;
        if byte < 0x80 {
            let shortest = byte != 0 || shift == 0;
            return if shortest { Ok(value) } else { Err(DecodeError("a varint is longer than it need be")) };
        }
    }
    Err(DecodeError("a varint passes 64 bits"))
}

/// Takes a varint of at most 32 bits off the front of `from`.
///
/// # Errors
/// As [`take_varint`], and when it passes 32 bits.
pub fn take_varint_u32(from: &mut &[u8]) -> Result<u32, DecodeError> {
    u32::try_from(take_varint(from)?).map_err(|_| DecodeError("a number passes 32 bits"))
}

/// Takes one byte off the front of `from`.
///
/// # Errors
/// When there is none.
#[inline]
pub fn take_u8(from: &mut &[u8]) -> Result<u8, DecodeError> {
    let (first, rest) = from.split_first().ok_or(CUT_OFF)?;
    *from = rest;
    Ok(*first)
}

/// Takes `len` bytes off the front of `from`.
///
/// # Errors
/// When there are fewer.
pub fn take<'a>(from: &mut &'a [u8], len: usize) -> Result<&'a [u8], DecodeError> {
    let (taken, rest) = from.split_at_checked(len).ok_or(CUT_OFF)?;
    *from = rest;
    Ok(taken)
}

/// Checks that nothing is left.
///
/// # Errors
/// When something is.
pub fn end(from: &[u8]) -> Result<(), DecodeError> {
    if from.is_empty() { Ok(()) } else { Err(DecodeError("bytes follow after the end")) }
}

/// Appends one bit for each row.
pub fn put_bitmap(out: &mut Vec<u8>, bits: impl ExactSizeIterator<Item = bool>) {
    let start = out.len();
    out.resize(start + bits.len().div_ceil(8), 0);
    for (i, bit) in bits.enumerate() {
        out[start + i / 8] |= u8::from(bit) << (i % 8);
    }
}

/// Takes a bitmap of `rows` bits off the front of `from`.
///
/// # Errors
/// When it is cut off, or a bit past the last row is set.
pub fn take_bitmap<'a>(from: &mut &'a [u8], rows: usize) -> Result<&'a [u8], DecodeError> {
    let bitmap = take(from, rows.div_ceil(8))?;
    let past = rows % 8;
    let clean = past == 0 || bitmap.last().is_none_or(|last| last >> past == 0);
    if clean { Ok(bitmap) } else { Err(DecodeError("a bitmap has bits past its last row")) }
}

/// The bit of `row`; clear where the bitmap does not reach.
#[inline]
#[must_use]
pub fn bit(bitmap: &[u8], row: usize) -> bool {
    bitmap.get(row / 8).is_some_and(|byte| byte >> (row % 8) & 1 == 1)
}

/// How many bits are set.
#[must_use]
pub fn count_bits(bitmap: &[u8]) -> usize {
    bitmap.iter().map(|byte| usize::try_from(byte.count_ones()).unwrap_or(0)).sum()
}

const CUT_OFF: DecodeError = DecodeError("the bytes are cut off");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_varint_has_one_form_only() {
        for value in [0, 1, 127, 128, 300, u64::from(u32::MAX), u64::MAX - 1, u64::MAX] {
            let mut out = Vec::new();
            put_varint(&mut out, value);
            let mut from = out.as_slice();
            assert_eq!((take_varint(&mut from), from.len()), (Ok(value), 0));
        }
        for bad in [
            &[][..],
            &[0x80],
            &[0x80, 0],
            &[0xff; 10],
            &[0x80; 11],
            &[255, 255, 255, 255, 255, 255, 255, 255, 255, 2],
        ] {
            assert!(take_varint(&mut &bad[..]).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_bitmap_keeps_its_rows_and_refuses_bits_past_them() {
        let rows: Vec<_> = (0..11).map(|i| i % 3 == 0).collect();
        let mut out = Vec::new();
        put_bitmap(&mut out, rows.iter().copied());
        let bitmap = take_bitmap(&mut out.as_slice(), 11).expect("just written");
        assert_eq!((0..11).map(|i| bit(bitmap, i)).collect::<Vec<_>>(), rows);
        assert_eq!(count_bits(bitmap), 4);
        assert!(take_bitmap(&mut &[0, 8][..], 11).is_err());
        assert!(take_bitmap(&mut &[0][..], 11).is_err());
    }
}
