//! Rules over Rust sources: sizes, and what may be named only at its home.

use proc_macro2::LineColumn;
use syn::spanned::Spanned as _;
use syn::visit::{self, Visit};

use super::Finding;
use crate::workspace::Workspace;

/// Lines of a file, all counted.
const FILE_LINES_MAX: usize = 800;
/// Lines of a function's body that are neither empty nor comment.
const FUNCTION_LINES_MAX: usize = 70;
/// Programs and kits that are no part of the product: they may read clocks and start threads.
const TOOLS: [&str; 5] = ["xtask", "bench", "pgserver", "testkit", "faults"];

/// A name that may be used in some packages only; code of tests is free of it unless `in_tests`.
struct Home {
    /// Ends of paths, `::` between the segments. One that begins with `::` is the begin of a path.
    paths: &'static [&'static str],
    packages: &'static [&'static str],
    in_tests: bool,
    reason: &'static str,
}

const HOMES: [Home; 5] = [
    Home {
        paths: &["Instant::now", "SystemTime::now", "Utc::now"],
        packages: &["base"],
        in_tests: false,
        reason: "time is passed in: base::Clock",
    },
    Home {
        paths: &[
            "tokio::spawn",
            "task::spawn",
            "task::spawn_local",
            "task::spawn_blocking",
            "thread::spawn",
            "thread::Builder",
            "JoinSet::new",
        ],
        packages: &["lifecycle"],
        in_tests: false,
        reason: "tasks and threads have a kind: lifecycle::Supervisor",
    },
    Home {
        paths: &["TcpListener::bind", "UdpSocket::bind", "UnixListener::bind", "UnixDatagram::bind"],
        packages: &["lifecycle"],
        in_tests: false,
        reason: "lifecycle binds every listening socket",
    },
    Home {
        paths: &["::hyper_util::client"],
        packages: &["outbound"],
        in_tests: false,
        reason: "outbound is the one HTTP client (the gateway has its own wire)",
    },
    Home {
        paths: &["authority::Mint", "Mint::for_identity"],
        packages: &["authority", "identity", "testkit"],
        in_tests: true,
        reason: "only identity mints callers, and the test kit for tests",
    },
];

/// Files that may name something away from its home, and why.
const EXCEPTIONS: [(&str, &str, &str); 3] = [
    (
        "crates/deployments/src/keeper/",
        "UnixListener::bind",
        "the keeper is a process of its own, without a lifecycle: a socket in the data folder for the next Switchyard",
    ),
    (
        "crates/deployments/src/processes.rs",
        "TcpListener::bind",
        "bound for a moment, to find a port that is free for a replica; nothing ever listens there",
    ),
    (
        "crates/outbound/src/dns.rs",
        "UdpSocket::bind",
        "the socket of one question, connected to the name server that it asks: nobody else reaches it",
    ),
];

/// One Rust file.
pub(super) struct Source {
    /// Relative to the root.
    pub(super) file: String,
    pub(super) package: String,
    pub(super) syntax: syn::File,
    text: String,
    pub(super) is_test: bool,
}

/// Parses every Rust file of the workspace's packages.
pub(super) fn parse(workspace: &Workspace) -> Result<Vec<Source>, String> {
    let rust = workspace.files.iter().filter(|file| file.ends_with(".rs"));
    rust.filter_map(|file| Some((file, workspace.package_of(file)?)))
        .map(|(file, package)| {
            let text = workspace.read(file)?;
            let syntax = syn::parse_file(&text).map_err(|error| format!("parse {file}: {error}"))?;
            let is_test = ["/tests/", "/benches/", "/examples/"].iter().any(|part| file.contains(part))
                || file.ends_with("/tests.rs");
            Ok(Source { file: file.clone(), package: package.name.clone(), syntax, text, is_test })
        })
        .collect()
}

pub(super) fn check(sources: &[Source]) -> Vec<Finding> {
    sources.iter().flat_map(check_source).collect()
}

fn check_source(source: &Source) -> Vec<Finding> {
    let mut findings = Vec::new();
    let lines = source.text.lines().count();
    if lines > FILE_LINES_MAX {
        findings.push(Finding::new(
            &source.file,
            format!("{lines} lines; at most {FILE_LINES_MAX}: split it by verb"),
        ));
    }
    let mut visitor = Visitor { source, findings, in_test: source.is_test };
    visitor.visit_file(&source.syntax);
    visitor.findings
}

struct Visitor<'a> {
    source: &'a Source,
    findings: Vec<Finding>,
    in_test: bool,
}

impl Visitor<'_> {
    fn find(&mut self, at: LineColumn, message: String) {
        self.findings.push(Finding::new(format!("{}:{}", self.source.file, at.line), message));
    }

    fn check_size(&mut self, name: &syn::Ident, block: &syn::Block) {
        let span = block.brace_token.span;
        let (first, last) = (span.open().start().line, span.close().end().line);
        let body = self.source.text.lines().skip(first).take(last.saturating_sub(first + 1));
        let lines = body.map(str::trim).filter(|line| !line.is_empty() && !line.starts_with("//")).count();
        if lines > FUNCTION_LINES_MAX {
            self.find(
                name.span().start(),
                format!("fn {name} has {lines} lines; at most {FUNCTION_LINES_MAX}"),
            );
        }
    }

    fn check_path(&mut self, segments: &[String], at: LineColumn) {
        let package = self.source.package.as_str();
        for home in &HOMES {
            let is_free = !home.in_tests && (self.in_test || TOOLS.contains(&package));
            let is_at_home = home.packages.contains(&package);
            let is_excepted = EXCEPTIONS
                .iter()
                .any(|(file, path, _)| self.source.file.starts_with(file) && names(segments, path));
            if is_free || is_at_home || is_excepted || !home.paths.iter().any(|path| names(segments, path)) {
                continue;
            }
            self.find(at, format!("{} is named outside of its home: {}", segments.join("::"), home.reason));
        }
    }

    fn check_use(&mut self, tree: &syn::UseTree, before: &mut Vec<String>) {
        match tree {
            syn::UseTree::Path(path) => {
                before.push(path.ident.to_string());
                self.check_use(&path.tree, before);
                before.pop();
            }
            syn::UseTree::Group(group) => group.items.iter().for_each(|item| self.check_use(item, before)),
            syn::UseTree::Name(syn::UseName { ident })
            | syn::UseTree::Rename(syn::UseRename { ident, .. }) => {
                before.push(ident.to_string());
                self.check_path(before, ident.span().start());
                before.pop();
            }
            syn::UseTree::Glob(glob) => self.check_path(before, glob.star_token.span.start()),
        }
    }

    fn within(&mut self, attributes: &[syn::Attribute], visit: impl FnOnce(&mut Self)) {
        let before = self.in_test;
        self.in_test |= attributes.iter().any(is_for_tests);
        visit(self);
        self.in_test = before;
    }
}

impl<'ast> Visit<'ast> for Visitor<'_> {
    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        self.within(&item.attrs, |visitor| visit::visit_item_mod(visitor, item));
    }

    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        self.check_size(&item.sig.ident, &item.block);
        self.within(&item.attrs, |visitor| visit::visit_item_fn(visitor, item));
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        self.check_size(&item.sig.ident, &item.block);
        self.within(&item.attrs, |visitor| visit::visit_impl_item_fn(visitor, item));
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        self.within(&item.attrs, |visitor| visitor.check_use(&item.tree, &mut Vec::new()));
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let segments: Vec<String> = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        self.check_path(&segments, path.span().start());
        visit::visit_path(self, path);
    }
}

/// Whether the path has this end, or this begin where the pattern begins with `::`.
fn names(segments: &[String], pattern: &str) -> bool {
    let (begin, pattern) = pattern.strip_prefix("::").map_or((false, pattern), |rest| (true, rest));
    let wanted: Vec<&str> = pattern.split("::").collect();
    let same = |part: &[String]| part.iter().map(String::as_str).eq(wanted.iter().copied());
    let count = wanted.len();
    segments.len() >= count
        && same(if begin { &segments[..count] } else { &segments[segments.len() - count..] })
}

/// `#[test]`, `#[tokio::test]` and `#[cfg(test)]`.
fn is_for_tests(attribute: &syn::Attribute) -> bool {
    let is_test = attribute.path().segments.last().is_some_and(|segment| segment.ident == "test");
    let cfg = attribute.path().is_ident("cfg")
        && attribute.meta.require_list().is_ok_and(|list| list.tokens.to_string().contains("test"));
    is_test || cfg
}

#[cfg(test)]
mod tests {
    use super::*;

    fn messages(package: &str, text: &str) -> Vec<String> {
        let source = Source {
            file: "x.rs".into(),
            package: package.into(),
            syntax: syn::parse_file(text).unwrap(),
            text: text.into(),
            is_test: false,
        };
        check_source(&source).into_iter().map(|finding| finding.to_string()).collect()
    }

    #[test]
    fn names_outside_of_their_homes_are_found() {
        for (text, count) in [
            ("fn f() { std::time::Instant::now(); }", 1),
            ("use std::time::Instant; fn f() { Instant::now(); }", 1),
            ("#[cfg(test)] mod tests { fn f() { std::time::Instant::now(); } }", 0),
            ("#[test] fn f() { tokio::spawn(g()); }", 0),
            ("use tokio::{task::{spawn, yield_now}};", 1),
            ("use hyper_util::client::legacy::Client;", 1),
            ("use hyper_util::client::*; ", 1),
            ("#[test] fn f() { Mint::for_identity(); }", 1),
        ] {
            assert_eq!(messages("plans", text).len(), count, "{text}");
        }
        assert!(messages("lifecycle", "fn f() { tokio::spawn(g()); }").is_empty());
        assert!(messages("identity", "fn f() { Mint::for_identity(); }").is_empty());
    }

    #[test]
    fn sizes_are_counted_without_comments() {
        let body =
            |lines: usize| format!("fn f() {{\n{}{}}}\n", "// c\n\n".repeat(50), "g();\n".repeat(lines));
        assert!(messages("plans", &body(70)).is_empty());
        assert_eq!(messages("plans", &body(71)), ["x.rs:1: fn f has 71 lines; at most 70"]);
        assert_eq!(messages("plans", &"//\n".repeat(801)).len(), 1);
    }
}
