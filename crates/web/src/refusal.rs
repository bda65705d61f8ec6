//! Other shapes of a refusal than the problem document: for clients of OAuth, and for people at a browser.

use crate::page::Page;
use crate::problem::Problem;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde_json::json;

/// How refusals of a route are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Shape {
    /// RFC 9457.
    #[default]
    Problem,
    /// RFC 6749, 5.2: `error` and `error_description`.
    OAuth,
    /// A page where the client asks for HTML, else as [`Shape::Problem`].
    Page,
}

/// Status, headers and body of a refusal. `accept` is what the client asks for.
pub(crate) fn render(
    problem: &Problem,
    shape: Shape,
    accept: Option<&HeaderValue>,
    request_id: &str,
) -> (StatusCode, HeaderMap, Bytes) {
    let asks_for_html =
        || accept.and_then(|value| value.to_str().ok()).is_some_and(|text| text.contains("text/html"));
    match shape {
        Shape::OAuth => oauth(problem, request_id),
        Shape::Page if asks_for_html() => page(problem, request_id),
        Shape::Problem | Shape::Page => problem.render(request_id),
    }
}

fn oauth(problem: &Problem, request_id: &str) -> (StatusCode, HeaderMap, Bytes) {
    let status = match problem.status_code() {
        StatusCode::UNPROCESSABLE_ENTITY => StatusCode::BAD_REQUEST,
        status => status,
    };
    let error = problem.oauth_error().unwrap_or(match status.as_u16() {
        401 => "invalid_client",
        403 => "access_denied",
        429 | 503 => "temporarily_unavailable",
        500.. => "server_error",
        _ => "invalid_request",
    });
    let mut description = problem.sentence();
    // The characters that RFC 6749, 5.2 allows.
    description.retain(|letter| matches!(letter, ' '..='~'));
    let description = description.replace(['"', '\\'], "'");
    let document = json!({"error": error, "error_description": description, "request_id": request_id});
    let mut headers = problem.headers().clone();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::PRAGMA, HeaderValue::from_static("no-cache"));
    (status, headers, Bytes::from(document.to_string()))
}

fn page(problem: &Problem, request_id: &str) -> (StatusCode, HeaderMap, Bytes) {
    let page = Page::new(problem.code().title)
        .alert(&problem.sentence())
        .text(&format!("If you ask for help, tell this number: {request_id}"));
    let mut headers = problem.headers().clone();
    page_headers(&mut headers, &page);
    (problem.status_code(), headers, Bytes::from(page.html()))
}

/// The headers that go with a page.
pub(crate) fn page_headers(headers: &mut HeaderMap, page: &Page) {
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    // With `no-referrer` browsers would call the origin of a form of ours `null`.
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("same-origin"));
    if let Ok(policy) = HeaderValue::from_str(&page.policy()) {
        headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::codes;
    use serde_json::Value;

    #[test]
    fn an_oauth_client_reads_its_own_words() {
        let problem = Problem::oauth("invalid_grant", "The code is \"used\".\u{e9}");
        let (status, headers, body) = render(&problem, Shape::OAuth, None, "req_1");
        let document: Value = serde_json::from_slice(&body).expect("JSON");
        assert_eq!(
            (status.as_u16(), headers[header::CONTENT_TYPE].as_bytes()),
            (400, &b"application/json"[..])
        );
        assert_eq!(document["error"], "invalid_grant");
        assert_eq!(document["error_description"], "The code is 'used'.");
        for (problem, status, error) in [
            (Problem::new(&codes::INVALID).fault("/a", "b"), 400, "invalid_request"),
            (Problem::oauth("invalid_client", "x"), 401, "invalid_client"),
            (Problem::internal("canary"), 500, "server_error"),
            (Problem::new(&codes::UNAVAILABLE), 503, "temporarily_unavailable"),
        ] {
            let (found, _, body) = render(&problem, Shape::OAuth, None, "req_1");
            let text = String::from_utf8_lossy(&body).into_owned();
            assert_eq!(found.as_u16(), status, "{text}");
            assert!(text.contains(error) && !text.contains("canary"), "{text}");
        }
    }

    #[test]
    fn a_person_reads_a_page() {
        let problem = Problem::new(&codes::NOT_FOUND).detail("<b>gone</b>");
        let accept = HeaderValue::from_static("text/html,*/*;q=0.8");
        let (status, headers, body) = render(&problem, Shape::Page, Some(&accept), "req_1");
        let text = String::from_utf8_lossy(&body).into_owned();
        assert_eq!(status, 404);
        assert!(text.contains("&lt;b&gt;gone") && text.contains("req_1"), "{text}");
        assert!(
            headers[header::CONTENT_SECURITY_POLICY].to_str().expect("text").contains("default-src 'none'")
        );
        let (_, headers, _) = render(&problem, Shape::Page, None, "req_1");
        assert_eq!(headers[header::CONTENT_TYPE], crate::PROBLEM_CONTENT_TYPE);
    }
}
