//! Small pages for people, made of parts: whatever text goes in comes out as text.
//!
//! A page has no script and asks no other host for anything. Its policy allows exactly its own style, and forms that lead to
//! this host, and besides only to where the page says (a browser holds the redirect after a form to the same rule).

use base64::Engine as _;
use ring::digest;
use std::fmt::Write as _;
use std::sync::LazyLock;

const STYLE: &str = include_str!("page.css");

/// The style's name in a policy.
static STYLE_HASH: LazyLock<String> = LazyLock::new(|| {
    let hash = digest::digest(&digest::SHA256, STYLE.as_bytes());
    base64::engine::general_purpose::STANDARD.encode(hash)
});

/// A page: a heading, and below it parts in the order in which they were added.
#[derive(Debug, Clone)]
pub struct Page {
    title: String,
    parts: String,
    targets: Vec<String>,
}

impl Page {
    /// A page of this heading, which is its title as well.
    #[must_use]
    pub fn new(title: &str) -> Self {
        Self { title: title.to_owned(), parts: String::new(), targets: Vec::new() }
    }

    /// A paragraph.
    #[must_use]
    pub fn text(self, text: &str) -> Self {
        self.part(format_args!("<p>{}</p>", Spans(text)))
    }

    /// What went wrong.
    #[must_use]
    pub fn alert(self, text: &str) -> Self {
        self.part(format_args!("<p class=\"alert\" role=\"alert\">{}</p>", Escaped(text)))
    }

    /// Lines to be copied by a person, such as recovery codes.
    #[must_use]
    pub fn codes(mut self, lines: &[String]) -> Self {
        for line in lines {
            self = self.part(format_args!("<p><code>{}</code></p>", Escaped(line)));
        }
        self
    }

    /// A link. Anything but an absolute `http(s)` address or a path of this host becomes plain text.
    #[must_use]
    pub fn link(self, href: &str, text: &str) -> Self {
        if !is_own_path(href) && !href.starts_with("https://") && !href.starts_with("http://") {
            return self.text(text);
        }
        self.part(format_args!("<p><a href=\"{}\">{}</a></p>", Escaped(href), Escaped(text)))
    }

    /// A link to a path of this host, shown like a button of a choice. Anything else becomes plain text.
    #[must_use]
    pub fn way(self, path: &str, text: &str) -> Self {
        if !is_own_path(path) {
            return self.text(text);
        }
        self.part(format_args!("<a class=\"way\" href=\"{}\">{}</a>", Escaped(path), Escaped(text)))
    }

    /// A form.
    #[must_use]
    pub fn form(self, form: &Form) -> Self {
        self.part(format_args!("{}</form>", form.0))
    }

    /// Forms of this page may end at this origin as well, such as `https://app.example.com`: where a redirect after the form
    /// leads. What is no origin is left out.
    #[must_use]
    pub fn leads_to(mut self, origin: &str) -> Self {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~:/[]+".contains(&byte);
        if !origin.is_empty() && origin.contains(':') && origin.bytes().all(plain) {
            self.targets.push(origin.to_owned());
        }
        self
    }

    fn part(mut self, part: std::fmt::Arguments<'_>) -> Self {
        // Writing to a string cannot fail.
        let _ = writeln!(self.parts, "{part}");
        self
    }

    /// The document, to be sent as `text/html; charset=utf-8` with [`Page::policy`].
    pub fn html(&self) -> String {
        format!(
            "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
             <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\
             <title>{title}</title><style>{STYLE}</style></head>\n<body><main><h1>{title}</h1>\n{}</main></body></html>\n",
            self.parts,
            title = Escaped(&self.title),
        )
    }

    /// The value of `Content-Security-Policy` that goes with it.
    pub fn policy(&self) -> String {
        let targets: String = self.targets.iter().map(|target| format!(" {target}")).collect();
        format!(
            "default-src 'none'; style-src 'sha256-{}'; form-action 'self'{targets}; base-uri 'none'; \
             frame-ancestors 'none'",
            *STYLE_HASH
        )
    }
}

/// A form that is sent by POST, urlencoded.
#[derive(Debug, Clone)]
pub struct Form(String);

impl Form {
    /// A form that is sent to this path.
    #[must_use]
    pub fn to(path: &str) -> Self {
        Self(format!("<form method=\"post\" action=\"{}\">", Escaped(path)))
    }

    /// A value that goes along unseen.
    #[must_use]
    pub fn hidden(mut self, name: &str, value: &str) -> Self {
        let _ =
            write!(self.0, "<input type=\"hidden\" name=\"{}\" value=\"{}\">", Escaped(name), Escaped(value));
        self
    }

    /// Something to fill in.
    #[must_use]
    pub fn field(mut self, field: &Field<'_>) -> Self {
        let Field { name, label, kind, autocomplete, value, required, hint } = field;
        let _ = write!(
            self.0,
            "<label>{}<input name=\"{}\" type=\"{}\" autocomplete=\"{}\" value=\"{}\"{}>",
            Escaped(label),
            Escaped(name),
            Escaped(kind),
            Escaped(autocomplete),
            Escaped(value),
            if *required { " required" } else { "" },
        );
        if !hint.is_empty() {
            let _ = write!(self.0, "<span class=\"hint\">{}</span>", Escaped(hint));
        }
        self.0.push_str("</label>");
        self
    }

    /// The button that sends it.
    #[must_use]
    pub fn button(mut self, label: &str) -> Self {
        let _ = write!(self.0, "<button>{}</button>", Escaped(label));
        self
    }

    /// A button that sends it with this value, one of several to choose from.
    #[must_use]
    pub fn choice(mut self, name: &str, value: &str, label: &str) -> Self {
        let _ = write!(
            self.0,
            "<button class=\"choice\" name=\"{}\" value=\"{}\">{}</button>",
            Escaped(name),
            Escaped(value),
            Escaped(label)
        );
        self
    }
}

/// Something to fill in.
#[derive(Debug, Clone, Copy)]
pub struct Field<'a> {
    /// Its name in the form.
    pub name: &'a str,
    /// What people read.
    pub label: &'a str,
    /// `email`, `password`, `text`: the type of the input.
    pub kind: &'a str,
    /// What password managers go by, such as `current-password` or `one-time-code`.
    pub autocomplete: &'a str,
    /// What stands in it at first.
    pub value: &'a str,
    /// Whether the browser insists on it.
    pub required: bool,
    /// A line below it; may be empty.
    pub hint: &'a str,
}

/// Whether browsers take this for a path of this host: to them a backslash is a slash, and tabs and line breaks are nothing
/// (WHATWG URL, 4.4), so that either may make another host of what comes after the first slash.
fn is_own_path(text: &str) -> bool {
    let odd = |letter: char| letter == '\\' || letter.is_control();
    text.starts_with('/') && !text.starts_with("//") && !text.contains(odd)
}

/// A text in which commands stand between backticks.
struct Spans<'a>(&'a str);

impl std::fmt::Display for Spans<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut rest = self.0;
        while let Some((before, (command, after))) =
            rest.split_once('`').and_then(|(before, after)| Some((before, after.split_once('`')?)))
        {
            write!(f, "{}<code>{}</code>", Escaped(before), Escaped(command))?;
            rest = after;
        }
        write!(f, "{}", Escaped(rest))
    }
}

/// Text inside of HTML, elements and quoted attributes alike.
struct Escaped<'a>(&'a str);

impl std::fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for letter in self.0.chars() {
            match letter {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                '\'' => f.write_str("&#39;")?,
                '\0' => {}
                _ => f.write_char(letter)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVIL: &str = "\"'><script>alert(1)</script>&";

    #[test]
    fn what_stands_between_backticks_is_a_command() {
        let page = Spans("Use `a <b>`, `c`, or a ` alone.").to_string();
        assert_eq!(page, "Use <code>a &lt;b&gt;</code>, <code>c</code>, or a ` alone.");
    }

    #[test]
    fn text_stays_text() {
        let field = Field {
            name: EVIL,
            label: EVIL,
            kind: "text",
            autocomplete: "off",
            value: EVIL,
            required: true,
            hint: EVIL,
        };
        let form = Form::to(EVIL).hidden(EVIL, EVIL).field(&field).button(EVIL).choice(EVIL, EVIL, EVIL);
        let page =
            Page::new(EVIL).text(EVIL).alert(EVIL).codes(&[EVIL.to_owned()]).link(EVIL, EVIL).form(&form);
        let html = page.link("/path\"x", EVIL).html();
        assert!(!html.contains("<script"), "{html}");
        assert_eq!(html.matches("alert(1)").count(), 18, "{html}");
    }

    #[test]
    fn a_link_leads_to_the_web_only() {
        let hosts = ["//evil.example", "/\\evil.example", "/\t/evil.example", "/\n/evil.example"];
        for bad in ["javascript:alert(1)", "data:text/html,x"].into_iter().chain(hosts) {
            assert!(!Page::new("x").link(bad, "y").way(bad, "z").html().contains("<a"), "{bad}");
        }
    }

    #[test]
    fn the_policy_names_where_forms_may_end() {
        let page = Page::new("x").leads_to("https://app.example.com").leads_to("'unsafe'; x").leads_to("*");
        let policy = page.policy();
        assert!(policy.contains("form-action 'self' https://app.example.com; base-uri"), "{policy}");
        assert!(!policy.contains("unsafe") && !policy.contains('*'), "{policy}");
    }
}
