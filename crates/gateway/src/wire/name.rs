//! What a header is to the gateway, by its name.

/// What is done with a header of this name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeaderKind {
    /// Passed on.
    Other,
    /// `Host`.
    Host,
    /// `Content-Length`.
    ContentLength,
    /// `Transfer-Encoding`.
    TransferEncoding,
    /// `Connection`.
    Connection,
    /// `Keep-Alive`: of one connection only; its time-out is heeded in responses.
    KeepAlive,
    /// `Upgrade`.
    Upgrade,
    /// `Expect`.
    Expect,
    /// `Authorization`.
    Authorization,
    /// `X-API-Key`.
    ApiKey,
    /// `X-Forwarded-For`.
    ForwardedFor,
    /// `X-Forwarded-Proto`.
    ForwardedProto,
    /// `User-Agent`.
    UserAgent,
    /// `traceparent` and `tracestate`.
    Trace,
    /// `X-Tenant-Id`.
    TenantId,
    /// `X-Tenant-Slug`.
    TenantSlug,
    /// Of one connection only (RFC 9110, 7.6.1), or not to be passed on for another reason.
    Hop,
    /// Says something that only the gateway may say.
    Forged,
    /// `Date`, in responses.
    Date,
    /// `X-Frame-Options`, in responses.
    FrameOptions,
    /// `X-Content-Type-Options`, in responses.
    ContentTypeOptions,
    /// `Referrer-Policy`, in responses.
    ReferrerPolicy,
    /// `Permissions-Policy`, in responses.
    PermissionsPolicy,
}

/// The longest name that means anything here.
const NAME_BYTES_MAX: usize = 32;

/// What a header is. Case does not matter, and `_` counts as `-` for names that only the gateway may use: many
/// applications cannot tell the two apart (CGI, WSGI). For names that decide framing an underscore means nothing.
#[must_use]
pub fn classify(name: &str) -> HeaderKind {
    let bytes = name.as_bytes();
    let mut lower = [0_u8; NAME_BYTES_MAX];
    let length = bytes.len().min(NAME_BYTES_MAX);
    let mut underscore = false;
    for (to, from) in lower.iter_mut().zip(bytes) {
        underscore |= *from == b'_';
        *to = if *from == b'_' { b'-' } else { from.to_ascii_lowercase() };
    }
    let kind = by_name(&lower[..length]);
    match kind {
        _ if bytes.len() > NAME_BYTES_MAX && kind != HeaderKind::Forged => HeaderKind::Other,
        HeaderKind::Forged | HeaderKind::Other => kind,
        // A twin of a name that we set, judge or take away must not slip past.
        _ if underscore => HeaderKind::Forged,
        _ => kind,
    }
}

fn by_name(name: &[u8]) -> HeaderKind {
    match name.first() {
        Some(b'x') => by_x_name(name),
        Some(b's') if name.starts_with(b"switchyard-") => HeaderKind::Forged,
        _ => by_plain_name(name),
    }
}

fn by_plain_name(name: &[u8]) -> HeaderKind {
    match name {
        b"host" => HeaderKind::Host,
        b"content-length" => HeaderKind::ContentLength,
        b"transfer-encoding" => HeaderKind::TransferEncoding,
        b"connection" => HeaderKind::Connection,
        b"keep-alive" => HeaderKind::KeepAlive,
        b"upgrade" => HeaderKind::Upgrade,
        b"expect" => HeaderKind::Expect,
        b"authorization" => HeaderKind::Authorization,
        b"user-agent" => HeaderKind::UserAgent,
        b"traceparent" | b"tracestate" => HeaderKind::Trace,
        b"date" => HeaderKind::Date,
        b"referrer-policy" => HeaderKind::ReferrerPolicy,
        b"permissions-policy" => HeaderKind::PermissionsPolicy,
        b"proxy-connection"
        | b"proxy-authorization"
        | b"proxy-authenticate"
        | b"proxy"
        | b"te"
        | b"trailer"
        | b"http2-settings" => HeaderKind::Hop,
        b"forwarded" | b"client-ip" | b"true-client-ip" | b"cf-connecting-ip" | b"fastly-client-ip"
        | b"front-end-https" => HeaderKind::Forged,
        _ => HeaderKind::Other,
    }
}

fn by_x_name(name: &[u8]) -> HeaderKind {
    match name {
        b"x-api-key" => HeaderKind::ApiKey,
        b"x-forwarded-for" => HeaderKind::ForwardedFor,
        b"x-forwarded-proto" => HeaderKind::ForwardedProto,
        b"x-tenant-id" => HeaderKind::TenantId,
        b"x-tenant-slug" => HeaderKind::TenantSlug,
        b"x-frame-options" => HeaderKind::FrameOptions,
        b"x-content-type-options" => HeaderKind::ContentTypeOptions,
        b"x-request-id"
        | b"x-original-url"
        | b"x-original-uri"
        | b"x-original-host"
        | b"x-original-method"
        | b"x-rewrite-url"
        | b"x-middleware-subrequest"
        | b"x-middleware-rewrite"
        | b"x-real-ip"
        | b"x-client-ip"
        | b"x-cluster-client-ip"
        | b"x-host"
        | b"x-url-scheme"
        | b"x-scheme"
        | b"x-remote-user"
        | b"x-authenticated-user" => HeaderKind::Forged,
        _ if name.starts_with(b"x-forwarded")
            || name.starts_with(b"x-tenant-")
            || name.starts_with(b"x-user-") =>
        {
            HeaderKind::Forged
        }
        _ => HeaderKind::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn g14_forged_names_are_known_in_every_spelling() {
        for name in [
            "X-Tenant-Slug-Extra",
            "X_Tenant_Id",
            "x-user-role",
            "X-USER_ID",
            "Switchyard-Assertion",
            "switchyard_assertion",
            "X-Middleware-Subrequest",
            "X-Original-URL",
            "X_Forwarded_For",
            "Forwarded",
            "X_Api_Key",
            "X-Tenant-a-name-that-is-much-longer-than-any-known-one",
        ] {
            assert_eq!(classify(name), HeaderKind::Forged, "{name}");
        }
    }

    #[test]
    fn other_names_are_left_alone() {
        for name in [
            "Accept",
            "X-Custom",
            "my_header",
            "x-tenants",
            "hosts",
            "a-name-that-is-much-longer-than-any-known",
        ] {
            assert_eq!(classify(name), HeaderKind::Other, "{name}");
        }
        assert_eq!(classify("HOST"), HeaderKind::Host);
        assert_eq!(classify("TE"), HeaderKind::Hop);
    }
}
