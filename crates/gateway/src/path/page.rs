//! Refusals as pages, for people at a browser: whoever asks for HTML and not for JSON. All others get problem documents.

use super::job::{Job, Refusal};
use web::Page;

/// Whether the head of a request (of a client, or the one for the upstream) asks for a page. Looked for where a request is
/// refused only: no other pays for it.
pub(crate) fn asks_for_page(head: &[u8]) -> bool {
    let lines = head.split(|byte| *byte == b'\n').skip(1);
    let accepts = lines.filter_map(|line| {
        let (name, value) = line.split_at_checked("accept:".len())?;
        name.eq_ignore_ascii_case(b"accept:").then_some(value)
    });
    let (mut html, mut json) = (false, false);
    for value in accepts {
        let value = value.to_ascii_lowercase();
        html |= value.windows(9).any(|part| part == b"text/html");
        json |= value.windows(4).any(|part| part == b"json");
    }
    html && !json
}

/// The page that tells of a refusal.
pub(crate) fn page(job: &Job, refusal: &Refusal) -> Page {
    let mut page = Page::new(refusal.code.title).alert(&refusal.detail);
    if let Some(seconds) = refusal.retry_after {
        let unit = if seconds == 1 { "second" } else { "seconds" };
        page = page.text(&format!("Try again in {seconds} {unit}."));
    }
    match job.request {
        Some(request) => page.text(&format!("If you ask for help, tell this number: {request}")),
        None => page,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_asks_for_html_and_not_for_json_is_a_person() {
        for (head, expected) in [
            ("GET / HTTP/1.1\r\nHost: a\r\nAccept: text/html,*/*;q=0.8\r\n\r\n", true),
            ("GET / HTTP/1.1\r\naccept:TEXT/HTML\r\n\r\n", true),
            ("GET / HTTP/1.1\r\nAccept: */*\r\n\r\n", false),
            ("GET / HTTP/1.1\r\nAccept: application/json, text/html\r\n\r\n", false),
            ("GET / HTTP/1.1\r\nAccept: text/html\r\nAccept: application/problem+json\r\n\r\n", false),
            ("GET /accept:text/html HTTP/1.1\r\nX-Accept: text/html\r\n\r\n", false),
            ("", false),
        ] {
            assert_eq!(asks_for_page(head.as_bytes()), expected, "{head}");
        }
    }
}
