//! A bucket as one file: its keys and values in order, named for its content, so that the same content is the same file.

use std::fs::{self, File};
use std::hash::{DefaultHasher, Hasher as _};
use std::io::{self, BufReader, BufWriter, Read as _, Write};
use std::path::{Path, PathBuf};

use super::manifest::{FileCopy, sums};
use crate::bucket::Bucket;
use crate::error::FileContext;
use crate::{Error, Kv};

const MAGIC: &[u8; 8] = b"VOLTBUCK";
/// So many pairs are given to an engine at once.
const BATCH: usize = 256;
/// Longer than any key or value that is written.
const MOST_BYTES: usize = 64 * 1024 * 1024;

/// A bucket's file.
pub(super) struct Written {
    pub(super) file: FileCopy,
    /// Whether there was none of this content.
    pub(super) is_new: bool,
}

/// Writes a bucket into a backup.
pub(super) fn write(bucket: &Bucket, root: &Path, level: &str, name: &str) -> Result<Written, Error> {
    let below = PathBuf::from("buckets").join(level);
    let dir = root.join(&below);
    fs::create_dir_all(&dir).file("create", &dir)?;
    let beside = dir.join(format!("{name}.copying"));
    let mut out = BufWriter::with_capacity(1 << 18, File::create(&beside).file("create", &beside)?);
    let mut hasher = DefaultHasher::new();
    out.write_all(MAGIC).file("write", &beside)?;
    for key in bucket.all_keys()? {
        let Some(value) = bucket.get(&key)? else { continue };
        for bytes in [&key, &value] {
            hasher.write(bytes);
            push(&mut out, bytes).file("write", &beside)?;
        }
    }
    let file = out.into_inner().map_err(io::IntoInnerError::into_error).file("write", &beside)?;
    file.sync_all().file("sync", &beside)?;
    let (bytes, crc) = File::open(&beside).and_then(|mut file| sums(&mut file)).file("read", &beside)?;
    let place = below.join(format!("{name}-{:016x}-{bytes}", hasher.finish()));
    let file = FileCopy { path: place, bytes, crc };
    let path = root.join(&file.path);
    let is_new = file.check(root).is_err();
    if is_new {
        fs::rename(&beside, &path).file("write", &path)?;
    } else {
        fs::remove_file(&beside).file("remove", &beside)?;
    }
    Ok(Written { file, is_new })
}

fn push(out: &mut impl Write, bytes: &[u8]) -> io::Result<()> {
    let len = u32::try_from(bytes.len()).map_err(io::Error::other)?;
    out.write_all(&len.to_le_bytes())?;
    out.write_all(bytes)
}

/// Puts a bucket's file into an engine's map.
pub(super) fn read_into(path: &Path, kv: &dyn Kv) -> Result<(), Error> {
    let failed = |source| Error::Bucket { doing: "restore", path: path.to_owned(), source };
    let mut reader = BufReader::with_capacity(1 << 18, File::open(path).file("open", path)?);
    let mut magic = [0; MAGIC.len()];
    reader.read_exact(&mut magic).file("read", path)?;
    if &magic != MAGIC {
        return Err(Error::CorruptSnapshot { path: path.to_owned(), why: "it is no bucket of a backup" });
    }
    let mut pairs = Vec::new();
    while let Some(key) = pull(&mut reader).file("read", path)? {
        let value =
            pull(&mut reader).and_then(|value| value.ok_or_else(|| io::ErrorKind::UnexpectedEof.into()));
        pairs.push((key, value.file("read", path)?));
        if pairs.len() == BATCH {
            kv.write(std::mem::take(&mut pairs), Vec::new()).map_err(failed)?;
        }
    }
    kv.write(pairs, Vec::new()).map_err(failed)?;
    kv.sync().map_err(failed)
}

/// `None` at the end of the file.
fn pull(reader: &mut impl io::Read) -> io::Result<Option<Vec<u8>>> {
    let mut len = [0; 4];
    match reader.read_exact(&mut len) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        result => result?,
    }
    let len = usize::try_from(u32::from_le_bytes(len)).map_err(io::Error::other)?;
    if len > MOST_BYTES {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut bytes = vec![0; len];
    reader.read_exact(&mut bytes)?;
    Ok(Some(bytes))
}
