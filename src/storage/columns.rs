//! Frame-of-reference columns: integers kept as what they exceed their column's least value by, in as few bits as
//! the column needs.
//!
//! Layout: for each column its base (varint) and its width in bits (`u8`, 0 to 64); then the rows end to end, in each the
//! columns in order, lowest bit first; the last byte is filled up with zero bits. A column whose values are all equal
//! takes two bytes or a few more, and none for each row. How many rows there are is stored by the caller.
//!
//! Rows instead of whole columns end to end, because a row of a debit fits one machine word: it is written with one
//! store.

use super::decode_error::DecodeError;
use super::wire;

/// Most bits that are written at once: the writer holds up to seven older ones.
const WORD_BITS: usize = 56;
const WORD_BYTES: usize = 8;

/// Appends one column.
pub fn encode(out: &mut Vec<u8>, values: impl Iterator<Item = u64> + Clone) {
    encode_rows(out, values.map(|value| [value]));
}

/// Takes a column of `rows` values off the front of `from` and appends them to `values`.
///
/// # Errors
/// When the bytes are cut off, or are not a column.
pub fn decode(from: &mut &[u8], rows: usize, values: &mut Vec<u64>) -> Result<(), DecodeError> {
    let read = Rows::<1>::take(from, rows)?;
    values.extend(read.iter().map(|[value]| value));
    Ok(())
}

/// Appends `N` columns side by side.
#[inline]
pub fn encode_rows<const N: usize>(out: &mut Vec<u8>, rows: impl Iterator<Item = [u64; N]> + Clone) {
    let (layout, count) = Layout::of(rows.clone());
    layout.put(out);
    let start = out.len();
    let end = start + layout.bytes(count).expect("what is in memory can be counted in bits");
    out.resize(end + WORD_BYTES, 0);
    let mut writer = BitWriter { bytes: &mut out[start..], at: 0, held: 0, held_bits: 0 };
    if layout.total == 0 {
        // Nothing differs, so nothing but the bases is stored.
    } else if layout.total <= WORD_BITS {
        let bases = layout.word(layout.base);
        rows.for_each(|row| writer.put(layout.word(row).wrapping_sub(bases), layout.total));
    } else {
        rows.for_each(|row| layout.put_wide(row, &mut writer));
    }
    out.truncate(end);
}

/// Columns side by side, as they are stored: checked, and read where they stand.
#[derive(Clone, Copy, Debug)]
pub struct Rows<'a, const N: usize> {
    layout: Layout<N>,
    rows: usize,
    bytes: &'a [u8],
}

impl<'a, const N: usize> Rows<'a, N> {
    /// Takes `N` columns of `rows` values each off the front of `from`. Nothing is allocated.
    ///
    /// # Errors
    /// When the bytes are cut off, a value passes 64 bits, or there are bits past the last row.
    pub fn take(from: &mut &'a [u8], rows: usize) -> Result<Self, DecodeError> {
        let layout = Layout::take(from)?;
        let len = layout.bytes(rows).ok_or(DecodeError("a column is longer than any file"))?;
        let read = Self { layout, rows, bytes: wire::take(from, len)? };
        let past = rows.wrapping_mul(layout.total) % 8;
        if past != 0 && read.bytes.last().is_some_and(|last| last >> past != 0) {
            return Err(DecodeError("a column has bits past its last row"));
        }
        if layout.may_overflow() && !(0..rows).all(|row| read.fits(row)) {
            return Err(DecodeError("a column's value passes 64 bits"));
        }
        Ok(read)
    }

    /// The rows in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = [u64; N]> + use<'a, N> {
        let rows = *self;
        (0..rows.rows).map(move |row| {
            let over = rows.over(row);
            std::array::from_fn(|column| rows.layout.base[column].wrapping_add(over[column]))
        })
    }

    fn fits(&self, row: usize) -> bool {
        let over = self.over(row);
        self.layout.base.iter().zip(over).all(|(base, over)| base.checked_add(over).is_some())
    }

    /// By what the values of a row exceed their bases.
    #[inline]
    fn over(&self, row: usize) -> [u64; N] {
        let mut bit = row * self.layout.total;
        let mut over = [0; N];
        for (value, width) in over.iter_mut().zip(self.layout.width) {
            if width > 0 {
                *value = load(self.bytes, bit, width);
            }
            bit += width;
        }
        over
    }
}

/// Where the columns stand in a row.
#[derive(Clone, Copy, Debug)]
struct Layout<const N: usize> {
    base: [u64; N],
    /// Bits of each column.
    width: [usize; N],
    /// Bits of a row.
    total: usize,
    /// The first bit of each column.
    first: [usize; N],
}

impl<const N: usize> Layout<N> {
    /// The layout that fits `rows`, and how many there are.
    #[inline]
    fn of(rows: impl Iterator<Item = [u64; N]>) -> (Self, usize) {
        let (mut least, mut most, mut count) = ([u64::MAX; N], [0; N], 0);
        rows.for_each(|row| {
            for (column, value) in row.into_iter().enumerate() {
                least[column] = least[column].min(value);
                most[column] = most[column].max(value);
            }
            count += 1;
        });
        if count == 0 {
            return (Self::new([0; N], [0; N]), 0);
        }
        let width = std::array::from_fn(|column| bits(most[column] - least[column]));
        (Self::new(least, width), count)
    }

    fn new(base: [u64; N], width: [usize; N]) -> Self {
        let first = std::array::from_fn(|column| width[..column].iter().sum());
        Self { base, width, total: width.iter().sum(), first }
    }

    fn put(&self, out: &mut Vec<u8>) {
        for (base, width) in self.base.iter().zip(self.width) {
            wire::put_varint(out, *base);
            out.push(u8::try_from(width).expect("a column has at most 64 bits"));
        }
    }

    fn take(from: &mut &[u8]) -> Result<Self, DecodeError> {
        let (mut base, mut width) = ([0; N], [0; N]);
        for (base, width) in base.iter_mut().zip(&mut width) {
            *base = wire::take_varint(from)?;
            *width = usize::from(wire::take_u8(from)?);
            if *width > 64 {
                return Err(DecodeError("a column is wider than 64 bits"));
            }
        }
        Ok(Self::new(base, width))
    }

    /// Bytes of so many rows.
    fn bytes(&self, rows: usize) -> Option<usize> {
        Some(rows.checked_mul(self.total)?.div_ceil(8))
    }

    /// Whether a value that fits its width could pass 64 bits with its base.
    fn may_overflow(&self) -> bool {
        self.base.iter().zip(self.width).any(|(base, width)| base.checked_add(mask(width)).is_none())
    }

    /// A row's values side by side in one word, which they may overflow: less the word of the bases, it is what the
    /// row stores, for then each fits its place.
    #[inline]
    fn word(&self, row: [u64; N]) -> u64 {
        let placed = row.into_iter().zip(self.first).map(|(value, first)| value << (first & 63));
        placed.fold(0, u64::wrapping_add)
    }

    #[inline]
    fn put_wide(&self, row: [u64; N], writer: &mut BitWriter<'_>) {
        for (column, value) in row.into_iter().enumerate() {
            let (over, width) = (value - self.base[column], self.width[column]);
            writer.put(over & mask(32), width.min(32));
            if width > 32 {
                writer.put(over >> 32, width - 32);
            }
        }
    }
}

/// Writes bits into bytes that reach a word further than what is written.
struct BitWriter<'a> {
    bytes: &'a mut [u8],
    at: usize,
    held: u64,
    held_bits: usize,
}

impl BitWriter<'_> {
    /// Writes the `count` (at most 56) bits of `word`, which has no others.
    #[inline]
    fn put(&mut self, word: u64, count: usize) {
        let held = self.held | word << (self.held_bits & 7);
        if let Some(place) = self.bytes[self.at..].first_chunk_mut() {
            *place = held.to_le_bytes();
        }
        let filled = (self.held_bits & 7) + count;
        self.at += filled / 8;
        self.held = held >> (filled & 0x38);
        self.held_bits = filled & 7;
    }
}

/// The `width` (1 to 64) bits from `bit` on; zeros where the bytes end.
#[inline]
fn load(bytes: &[u8], bit: usize, width: usize) -> u64 {
    let tail = bytes.get(bit / 8..).unwrap_or(&[]);
    let low = match tail.first_chunk::<WORD_BYTES>() {
        Some(word) => u64::from_le_bytes(*word),
        None => load_tail(tail),
    };
    let skipped = bit % 8;
    let mut value = low >> skipped;
    if skipped + width > 64 {
        let next = tail.get(WORD_BYTES).copied().unwrap_or(0);
        value |= u64::from(next) << (64 - skipped);
    }
    value & mask(width)
}

fn load_tail(tail: &[u8]) -> u64 {
    let mut word = [0; WORD_BYTES];
    word[..tail.len()].copy_from_slice(tail);
    u64::from_le_bytes(word)
}

#[inline]
fn mask(width: usize) -> u64 {
    if width >= 64 { u64::MAX } else { (1 << width) - 1 }
}

fn bits(value: u64) -> usize {
    usize::try_from(u64::BITS - value.leading_zeros()).unwrap_or(64)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check<const N: usize>(rows: &[[u64; N]]) {
        let mut out = vec![7];
        encode_rows(&mut out, rows.iter().copied());
        let mut from = &out[1..];
        let read = Rows::<N>::take(&mut from, rows.len()).expect("just written");
        assert_eq!((read.iter().collect::<Vec<_>>().as_slice(), from.len()), (rows, 0));
        for cut in 1..out.len() {
            assert!(Rows::<N>::take(&mut &out[1..cut], rows.len()).is_err(), "cut at {cut}");
        }
    }

    #[test]
    fn columns_at_the_edges_come_back_alike() {
        check::<1>(&[]);
        check(&[[0]; 3]);
        check(&[[u64::MAX]; 9]);
        check(&[[0], [u64::MAX], [1]]);
        check(&[[u64::MAX - 9], [u64::MAX], [u64::MAX - 3]]);
        check(&[[1, u64::MAX, 3], [u64::MAX, 0, 3]]);
        for width in 0..64 {
            check(&[[5, 1 << width], [6, 0], [5, (1 << width) - 1]]);
        }
    }

    #[test]
    fn equal_values_take_no_bytes_for_each_row() {
        let mut out = Vec::new();
        encode(&mut out, std::iter::repeat_n(300, 1_000_000));
        assert_eq!(out, [0xac, 0x02, 0]);
        let mut values = Vec::new();
        decode(&mut out.as_slice(), 3, &mut values).expect("just written");
        assert_eq!(values, [300; 3]);
    }

    #[test]
    fn columns_that_cannot_be_are_refused() {
        for (bad, rows, what) in [
            (&[0, 65][..], 1, "wider than 64 bits"),
            (&[0, 8, 1], 2, "cut off"),
            (&[0, 64], usize::MAX, "longer than any file"),
            (&[0, 3, 0xff], 2, "bits past its last row"),
            (&[255, 255, 255, 255, 255, 255, 255, 255, 255, 1, 1, 1], 1, "passes 64 bits"),
        ] {
            let refused = Rows::<1>::take(&mut &bad[..], rows).expect_err(what);
            assert!(refused.to_string().contains(what), "{refused}");
        }
    }

    proptest! {
        #[test]
        fn any_columns_come_back_alike(
            rows in prop::collection::vec(any::<[u64; 3]>(), 0..40), widths in any::<[u8; 3]>()
        ) {
            let narrow = |row: [u64; 3]| std::array::from_fn(|i| row[i] >> (widths[i] % 64));
            check::<3>(&rows.into_iter().map(narrow).collect::<Vec<_>>());
        }
    }
}
