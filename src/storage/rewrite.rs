//! `voltree storage compact` and `migrate`: buckets written anew, with nothing changed in what they hold.

use std::sync::Arc;

use anyhow::bail;
use voltree_storage::{Compacted, Error, RealDisk, Rewrite, Store};

use super::{Progress, ToolOptions, bytes, hold};
use crate::cli::say;

pub(super) fn run(options: &ToolOptions, what: Rewrite) -> anyhow::Result<()> {
    let (data, mut progress) = (hold(&options.data)?, Progress::new()?);
    let store = Store::open(&data, Arc::new(RealDisk))?;
    let now = voltree_actors::now();
    let done = store.rewrite(what, now, &mut |at| progress.step(|| format!("rewriting {at}")));
    let done = match done {
        Ok(done) => done,
        Err(Error::Cancelled) => {
            bail!("stopped; what was done stays done, and the same command goes on from there")
        }
        Err(error) => return Err(error.into()),
    };
    if options.json {
        say(&serde_json::to_string_pretty(&done)?);
        return Ok(());
    }
    let Compacted { buckets, merged_hours, migrated_frames, bytes_before, bytes_after } = done;
    let (before, after) = (bytes(bytes_before), bytes(bytes_after));
    say(&match what {
        Rewrite::Everything => {
            format!("{buckets} buckets, {merged_hours} device-hours merged: {before} before, {after} now")
        }
        Rewrite::OldFrames => {
            format!(
                "{buckets} buckets, {migrated_frames} frames of earlier versions written anew: {before} before, {after} now"
            )
        }
    });
    Ok(())
}
