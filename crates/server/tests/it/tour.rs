//! Every command of the README's tour, run as it stands there: in a copy of the example, on free ports.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::harness::text;

/// A change is in force everywhere within a second, and people type no faster.
const WITHIN_A_SECOND: &str = "curl() { command curl \"$@\" || { sleep 1; command curl \"$@\"; }; }\n";

#[test]
fn every_command_of_the_readme_tour_works() {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..");
    let readme = std::fs::read_to_string(root.join("README.md")).expect("README.md");
    let place = tempfile::Builder::new().prefix("sytour").tempdir().expect("a folder");
    copy(&root.join("examples/agents"), &place.path().join("examples/agents"));
    let release = place.path().join("target/release");
    std::fs::create_dir_all(&release).expect("a folder for the binary");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_switchyard"), release.join("switchyard"))
        .expect("link it");

    // The ports are the defaults in the README and free ones here.
    let [gateway, control, service] = free_ports();
    let script = commands(&readme)
        .replace("cargo run --release --", "target/release/switchyard")
        .replace(":8080", &format!(":{gateway}"));
    assert!(script.contains("switchyard audit verify"), "the tour was not found in the README");
    let script = format!("{WITHIN_A_SECOND}{script}");
    let output = Command::new("sh")
        .args(["-e", "-x", "-c", &script])
        .current_dir(place.path())
        .env("SWITCHYARD_GATEWAY_ADDR", format!("127.0.0.1:{gateway}"))
        .env("SWITCHYARD_CONTROL_ADDR", format!("127.0.0.1:{control}"))
        .env("SWITCHYARD_SERVICE_ADDR", format!("127.0.0.1:{service}"))
        .env("NO_COLOR", "1")
        .stdin(Stdio::null())
        .output()
        .expect("run the tour");
    if !output.status.success() {
        let _ = Command::new(release.join("switchyard"))
            .args(["down", "-C"])
            .arg(place.path().join("examples/agents"))
            .status();
    }
    assert!(output.status.success(), "{}\n{}", text(&output.stdout), text(&output.stderr));
}

/// The lines of all `sh` blocks of the sections "Start" (its first block) and "Five minutes".
fn commands(readme: &str) -> String {
    let mut blocks = readme.split("```sh\n").skip(1).filter_map(|rest| rest.split("```").next());
    let up = blocks.next().expect("the first command");
    let tour: Vec<&str> = blocks.filter(|b| !b.contains("cargo xtask test")).collect();
    format!("{up}{}", tour.join(""))
}

/// Ports below those that the kernel gives to whoever asks for any: nobody takes them before the tour does.
fn free_ports() -> [u16; 3] {
    let first = 10_000 + u16::try_from(std::process::id() % 20_000).expect("below 20,000");
    let mut free = (first..32_000).filter_map(|port| TcpListener::bind(("127.0.0.1", port)).ok());
    let held = [(); 3].map(|()| free.next().expect("a free port"));
    held.map(|l| l.local_addr().expect("its address").port())
}

/// Copies a folder without what running it left there.
pub fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("make a folder");
    for entry in std::fs::read_dir(from).expect("read a folder").flatten() {
        let name = entry.file_name();
        if matches!(name.to_str(), Some("target" | ".switchyard")) {
            continue;
        }
        let (source, target) = (entry.path(), to.join(&name));
        if source.is_dir() {
            copy(&source, &target);
        } else {
            std::fs::copy(&source, &target).expect("copy a file");
        }
    }
}
