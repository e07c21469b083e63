//! `weir export --format parquet`: columns instead of lines.
//!
//! Rows are gathered and written as a row group at a time, so that memory is bounded. A file is whole when [`Columns::finish`] has
//! written its end; readers refuse one without.

use std::io::{self, Write};
use std::sync::Arc;

use parquet::basic::Compression;
use parquet::data_type::{ByteArray, ByteArrayType, DataType, Int32Type, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::parser::parse_message_type;

use crate::domain::time::Timestamp;

use super::export_row::Row;

/// What stands in a file, in the order of [`super::export_row::HEAD`]. Numbers are unsigned in the types of the row.
const SCHEMA: &str = "
message debits {
    REQUIRED BYTE_ARRAY organization (STRING);
    REQUIRED INT64 lsn (INTEGER(64,false));
    REQUIRED INT32 row (INTEGER(32,false));
    REQUIRED INT64 at (TIMESTAMP(MILLIS,true));
    OPTIONAL INT64 time (TIMESTAMP(MILLIS,true));
    REQUIRED BYTE_ARRAY network (STRING);
    REQUIRED BYTE_ARRAY camera (STRING);
    REQUIRED BYTE_ARRAY kind (STRING);
    REQUIRED INT32 tokens (INTEGER(32,false));
    REQUIRED BYTE_ARRAY outcome (STRING);
    OPTIONAL BYTE_ARRAY license (STRING);
    REQUIRED INT64 balance (INTEGER(64,false));
    OPTIONAL INT32 epoch (INTEGER(32,false));
    OPTIONAL INT64 seq (INTEGER(64,false));
    OPTIONAL BYTE_ARRAY event_id (STRING);
}";

/// Rows of a row group.
const GROUP_ROWS: usize = 1 << 16;

/// A file in the making.
pub(super) struct Columns {
    writer: SerializedFileWriter<Box<dyn Write + Send>>,
    group: Group,
}

/// The rows that are not written yet.
#[derive(Default)]
struct Group {
    rows: usize,
    organization: Column<ByteArrayType>,
    lsn: Column<Int64Type>,
    row: Column<Int32Type>,
    at: Column<Int64Type>,
    time: Column<Int64Type>,
    network: Column<ByteArrayType>,
    camera: Column<ByteArrayType>,
    kind: Column<ByteArrayType>,
    tokens: Column<Int32Type>,
    outcome: Column<ByteArrayType>,
    license: Column<ByteArrayType>,
    balance: Column<Int64Type>,
    epoch: Column<Int32Type>,
    seq: Column<Int64Type>,
    event_id: Column<ByteArrayType>,
}

/// The values of a column, and for each row whether it has one.
struct Column<T: DataType> {
    values: Vec<T::T>,
    present: Vec<i16>,
}

impl Columns {
    /// Begins a file.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(super) fn begin(out: Box<dyn Write + Send>) -> io::Result<Self> {
        let schema = parse_message_type(SCHEMA).map_err(into_io)?;
        let properties = WriterProperties::builder().set_compression(Compression::SNAPPY).build();
        let writer =
            SerializedFileWriter::new(out, Arc::new(schema), Arc::new(properties)).map_err(into_io)?;
        Ok(Self { writer, group: Group::default() })
    }

    /// Adds a row.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(super) fn push(&mut self, row: &Row<'_>) -> io::Result<()> {
        self.group.push(row);
        if self.group.rows == GROUP_ROWS { self.write_group() } else { Ok(()) }
    }

    /// Writes what is left, and the end of the file.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(super) fn finish(mut self) -> io::Result<()> {
        if self.group.rows > 0 {
            self.write_group()?;
        }
        self.writer.finish().map_err(into_io)?;
        self.writer.inner_mut().flush()
    }

    fn write_group(&mut self) -> io::Result<()> {
        let group = std::mem::take(&mut self.group);
        let mut out = self.writer.next_row_group().map_err(into_io)?;
        group.write(&mut out).and_then(|()| out.close()).map(drop).map_err(into_io)
    }
}

impl Group {
    fn push(&mut self, row: &Row<'_>) {
        let text = |text: &str| Some(ByteArray::from(text));
        self.rows += 1;
        self.organization.push(text(row.organization));
        self.lsn.push(Some(row.lsn.0.cast_signed()));
        self.row.push(Some(row.row.cast_signed()));
        self.at.push(Some(ms(row.at)));
        self.time.push(row.time.map(ms));
        self.network.push(text(row.network));
        self.camera.push(text(row.camera));
        self.kind.push(text(row.kind));
        self.tokens.push(Some(row.tokens.cast_signed()));
        self.outcome.push(text(row.outcome));
        self.license.push(row.license.and_then(text));
        self.balance.push(Some(row.balance.cast_signed()));
        self.epoch.push(row.epoch.map(u32::cast_signed));
        self.seq.push(row.seq.map(u64::cast_signed));
        self.event_id.push(row.event_id.as_deref().and_then(text));
    }

    fn write<W: Write + Send>(self, out: &mut SerializedRowGroupWriter<'_, W>) -> Result<(), ParquetError> {
        self.organization.write(out)?;
        self.lsn.write(out)?;
        self.row.write(out)?;
        self.at.write(out)?;
        self.time.write(out)?;
        self.network.write(out)?;
        self.camera.write(out)?;
        self.kind.write(out)?;
        self.tokens.write(out)?;
        self.outcome.write(out)?;
        self.license.write(out)?;
        self.balance.write(out)?;
        self.epoch.write(out)?;
        self.seq.write(out)?;
        self.event_id.write(out)
    }
}

impl<T: DataType> Default for Column<T> {
    fn default() -> Self {
        Self { values: Vec::new(), present: Vec::new() }
    }
}

impl<T: DataType> Column<T> {
    fn push(&mut self, value: Option<T::T>) {
        self.present.push(i16::from(value.is_some()));
        self.values.extend(value);
    }

    /// Writes it as the column that is next.
    fn write<W: Write + Send>(self, out: &mut SerializedRowGroupWriter<'_, W>) -> Result<(), ParquetError> {
        let next = out.next_column()?;
        let mut column = next.ok_or_else(|| ParquetError::General("a column too many".to_owned()))?;
        column.typed::<T>().write_batch(&self.values, Some(&self.present), None)?;
        column.close()
    }
}

fn ms(time: Timestamp) -> i64 {
    time.ms().cast_signed()
}

/// The error of the file beneath, where it was that.
fn into_io(error: ParquetError) -> io::Error {
    match error {
        ParquetError::External(source) => match source.downcast::<io::Error>() {
            Ok(error) => *error,
            Err(other) => io::Error::other(other),
        },
        error => io::Error::other(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::edge::cli::export_row::HEAD;

    #[test]
    fn a_file_has_the_fields_of_the_other_formats_in_their_order() {
        let schema = parse_message_type(SCHEMA).expect("valid");
        let names: Vec<&str> = schema.get_fields().iter().map(|field| field.name()).collect();
        assert_eq!(names, HEAD);
    }

    #[test]
    fn a_reader_that_goes_away_is_told_from_other_faults() {
        struct Gone;
        impl Write for Gone {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Err(io::ErrorKind::BrokenPipe.into())
            }
        }
        let ended = Columns::begin(Box::new(Gone)).and_then(Columns::finish);
        assert_eq!(ended.expect_err("nobody reads").kind(), io::ErrorKind::BrokenPipe);
    }
}
