//! Whether a folder can be written to, without writing.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::Path;

use rustix::fs::{Access, access};

/// Checks that files can be made in a folder, or the folder in the nearest one that exists. Blocks.
pub fn check_writable(folder: &Path) -> io::Result<()> {
    let mut at = folder;
    loop {
        // The parent of a relative name is the working directory.
        let existing = if at.as_os_str().is_empty() {
            Path::new(".")
        } else {
            at
        };
        match fs::metadata(existing) {
            Ok(found) if found.is_dir() => {
                return Ok(access(existing, Access::WRITE_OK | Access::EXEC_OK)?);
            }
            Ok(_) => return Err(ErrorKind::NotADirectory.into()),
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            Err(error) => at = at.parent().ok_or(error)?,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_can_be_made_is_writable_and_a_file_is_no_folder() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        assert!(check_writable(folder.path()).is_ok());
        assert!(check_writable(&path("a/b/c")).is_ok());
        assert!(check_writable(Path::new("not-there")).is_ok());
        fs::write(path("file"), "").unwrap();
        for name in ["file", "file/below"] {
            let error = check_writable(&path(name)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::NotADirectory, "{name}");
        }
        // Not even root makes a folder there.
        assert!(check_writable(Path::new("/proc/self/weir")).is_err());
    }
}
