//! Notes the commit that is built, where there is one to ask for: flight reports name it.

use std::path::Path;
use std::process::Command;

fn main() {
    let git = |arguments: &[&str]| {
        let output = Command::new("git").args(arguments).output().ok()?;
        let text = String::from_utf8(output.stdout).ok()?;
        output.status.success().then(|| text.trim().to_owned())
    };
    println!("cargo:rerun-if-changed=build.rs");
    // An archive of the sources inside somebody else's repository must not take that one's commit for its own.
    let own = git(&["rev-parse", "--show-toplevel"])
        .is_some_and(|top| Path::new(&top) == Path::new(env!("CARGO_MANIFEST_DIR")));
    if let (true, Some(commit), Some(log)) =
        (own, git(&["rev-parse", "--short=12", "HEAD"]), git(&["rev-parse", "--git-path", "logs/HEAD"]))
    {
        println!("cargo:rustc-env=VOLTREE_COMMIT={commit}");
        if Path::new(&log).exists() {
            println!("cargo:rerun-if-changed={log}");
        }
    }
}
