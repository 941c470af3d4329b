//! The project's scripts, called by what measures images.
#![forbid(unsafe_code)]

use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

/// Runs one of the project's scripts, whose answer is a path.
pub(crate) fn script(name: &str, options: &[&str]) -> Result<PathBuf> {
    let path = tests::env::workspace().join("scripts").join(name);
    let mut command = Command::new(&path);
    let output = command.args(options).stderr(Stdio::inherit()).output();
    let output = output.with_context(|| path.display().to_string())?;
    ensure!(output.status.success(), "{name}: {}", output.status);
    Ok(PathBuf::from(String::from_utf8(output.stdout)?.trim()))
}
