//! The files that the offline commands read and write.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::Path;

use flate2::bufread::MultiGzDecoder;

use crate::tools::plot::{self, Figure};
use crate::tools::simulate::{self, Load, ReadError};

/// Reads a file of load, plain or compressed by gzip as k6 writes `out.json.gz`; `-` is
/// standard input.
pub(super) fn read_load(file: &Path, group: &str) -> Result<Load, String> {
    let input: Box<dyn BufRead> = if file == Path::new("-") {
        Box::new(io::stdin().lock())
    } else {
        Box::new(open(file)?)
    };
    decompressed(input)
        .map_err(ReadError::Io)
        .and_then(|input| simulate::read(input, group))
        .map_err(|error| format!("{}: {error}", file.display()))
}

/// The content of gzip (RFC 1952), or the input itself.
fn decompressed(mut input: Box<dyn BufRead>) -> io::Result<Box<dyn BufRead>> {
    const MAGIC: [u8; 2] = [0x1f, 0x8b];
    let is_compressed = input.fill_buf()?.starts_with(&MAGIC);
    Ok(if is_compressed {
        Box::new(BufReader::new(MultiGzDecoder::new(input)))
    } else {
        input
    })
}

pub(super) fn open(file: &Path) -> Result<impl BufRead + use<>, String> {
    File::open(file)
        .map(BufReader::new)
        .map_err(|error| format!("cannot read {}: {error}", file.display()))
}

/// Draws a figure into a file.
pub(super) fn draw(figure: &Figure, file: &Path) -> Result<(), String> {
    let svg = plot::svg(figure).map_err(|error| error.to_string())?;
    std::fs::write(file, svg).map_err(|error| cannot_write(file, &error))
}

pub(super) fn cannot_write(file: &Path, error: &io::Error) -> String {
    format!("cannot write {}: {error}", file.display())
}
