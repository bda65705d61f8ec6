//! Public examples, and tokens that another library made.

use std::time::Duration;

use base::Timestamp;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::json;
use tokens::{Algorithm, Key, KeyError, KeySet, SigningKey, Unverified};

/// RFC 7515, appendix A.3.
const RFC_ES256: &str = "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q";
/// Made by OpenSSL (by Python's cryptography) for these tests.
const RSA_N: &str = "vLyj7y1bKo-YBgQzxBfDCQDigZX_Ig0Kp2k5O70WdUMAhKI0sgr6bnHePihwV2tOx0BKzYSwqhnqoV0SLZmQMhFmqjnp7NzYJVn-KWGYTKXcqrt_Km1dJueJn2xd0TPEFa6Cr1u_2STfhdrKulwHaplaG5R7jOH8alDH8jcf8BNqRZE-HurMXA3Ba-pVfkIN5cYqZec19MMJq0Dp_KrfNuxESWLiCFBIVEsWzqIT7YV1e-Y1hx7vK8qkDGNg6J-NXqfES8uh8kRx1GRbMb1E4VWDRjWkShAQb8bLVNw0rZ4OrQ7VE4qtPbhFTXguOqi2ywsOjJxrDRYKwocQvz51sw";
const RS256: &str = "eyJhbGciOiAiUlMyNTYiLCAia2lkIjogInIiLCAidHlwIjogIkpXVCJ9.eyJpc3MiOiAiaHR0cHM6Ly9pZC5leGFtcGxlLmNvbSIsICJhdWQiOiAiYXBwIiwgInN1YiI6ICJhZGEiLCAiZXhwIjogMTkwMDAwMDAwMH0.Jwwln8yydcoQpHsfRu_hSKdHl2EcC6xV3M6YQop82r_bbKZhyV5gFYSPlLPZqtA3TcOt0KSUN48WX-KW5tckU0IRrVpUweb2qaY26I1kbjzLclZL5bRnTdJ_PFV7iHGVPqvAEMJP4x3I7PxLQ9ib-YDnT1B8L7NwQdrilN0fYGkuhtrRykShiFcVceQcwhugcso9_4avjIsg77xjHERzb30ZtE1KjuGvqoplub-dR4Z4B8SMyfxNAUZ7s-OmY96C646a-jy4HNw-0KG3kXY79EABhst4utneaKsf4jUEiWvldhCGSsJAy1OLU2JfZvscb8_q_UViQUQIRtsothrXpg";
const PS256: &str = "eyJhbGciOiAiUFMyNTYiLCAia2lkIjogInIiLCAidHlwIjogIkpXVCJ9.eyJpc3MiOiAiaHR0cHM6Ly9pZC5leGFtcGxlLmNvbSIsICJhdWQiOiAiYXBwIiwgInN1YiI6ICJhZGEiLCAiZXhwIjogMTkwMDAwMDAwMH0.Q-bI5aKCDAS-BRAytkgMAq6Tw2EbTT5hIoT2WtFsrIoAGuSJq8kUzRZKCPV_HOuxZzkiblHbyUUYyS8zSY24Jnj4zvQrBF611ORNkjAe1zVsFHbm31pcGImhOshWQnwgp5hEDIxo-n4zshEAXXvd9KnAFDSSfR40ZrBhayAm2NbEjV2py79qDI0gJSg51h93XUohVeYAiDoUWV9g0CDoCMmeLXsnlxPhtIt66rZ7K2Sv4ydOPlWGSc95h_moUo93OZANZxbpRaDcXgHAhrI2Hs0_kgYEQeEMVy_ZLAaPmsGCiCGVwJCJe4ZyWBmszVnpCRox5fa_sPjl-DVrIvgWlw";
const P384: (&str, &str) = (
    "ozYxEzw9oY1a-UxpqKbXY_yGyuBwPL7wmTEttcGxj-SJGPGLZBtv22LoTM3RWcwF",
    "2Pdx2AfFA0If0kHvAVFYC2Q_NikpMnthrquHVFKW5Nq1l_VRr2fADCHI-DKLON7s",
);
const ES384: &str = "eyJhbGciOiAiRVMzODQiLCAia2lkIjogImUiLCAidHlwIjogIkpXVCJ9.eyJpc3MiOiAiaHR0cHM6Ly9pZC5leGFtcGxlLmNvbSIsICJhdWQiOiAiYXBwIiwgInN1YiI6ICJhZGEiLCAiZXhwIjogMTkwMDAwMDAwMH0.AbCdlXso5bMI8wTWEZ0AReMDr0AnnwnoCQzBrkqUmth5HDjNdK6apUJxnrclFk8APIKg4-DiEQ47slA255YIWZ2AqgNDeViSgFIpwZXPZvzDNtFfz41TcM4jz_PR14DN";
const WEAK_N: &str = "qMk3WrVHrfrQvPeRY-lcNywug-qY5exbWuBLgdDEkm82-WMAXjxx3xx8v82kUq-Y9wpnG5_4dABp1WbplqJ7dG8QP5zYsv7PTjCCzLijN00_scML221vIxtEqY65bPEVY2E52mLTvRTnaK1Exukc-3ykxc9GY1WGLkkCmKwG9Oc";

fn rsa(alg: Option<&str>) -> Key {
    let mut jwk = json!({ "kty": "RSA", "n": RSA_N, "e": "AQAB", "kid": "r" });
    if let Some(alg) = alg {
        jwk["alg"] = alg.into();
    }
    Key::from_jwk(&jwk).expect("a key")
}

#[test]
fn tokens_of_others_verify_by_their_keys() {
    let p256 = json!({
        "kty": "EC", "crv": "P-256", "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
        "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
    });
    let p384 = json!({ "kty": "EC", "crv": "P-384", "x": P384.0, "y": P384.1 });
    let read = |jwk| Key::from_jwk(&jwk).expect("a key");
    let cases = [
        (RFC_ES256, read(p256), Algorithm::Es256, "joe"),
        (RS256, rsa(None), Algorithm::Rs256, "https://id.example.com"),
        (RS256, rsa(Some("RS256")), Algorithm::Rs256, "https://id.example.com"),
        (PS256, rsa(None), Algorithm::Ps256, "https://id.example.com"),
        (ES384, read(p384), Algorithm::Es384, "https://id.example.com"),
    ];
    for (token, key, algorithm, issuer) in &cases {
        let parsed = Unverified::parse(token).expect("a token");
        assert_eq!((parsed.algorithm(), parsed.issuer()), (Some(*algorithm), Some(*issuer)));
        let verified = parsed.verify(key, &Algorithm::ALL).expect("the signature");
        assert_eq!(verified.claims().text("iss"), Ok(Some(*issuer)));
        // No other key of these takes it.
        for (_, other, _, _) in cases.iter().filter(|(_, other, _, _)| other.thumbprint() != key.thumbprint())
        {
            assert!(Unverified::parse(token).expect("a token").verify(other, &Algorithm::ALL).is_err());
        }
    }
}

#[test]
fn thumbprints_are_those_of_the_rfcs() {
    // RFC 7638, 3.1.
    let n = "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw";
    let key =
        Key::from_jwk(&json!({ "kty": "RSA", "n": n, "e": "AQAB", "alg": "RS256", "kid": "2011-04-29" }));
    assert_eq!(key.expect("a key").thumbprint(), "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs");
    // RFC 8037, appendix A.
    let seed = URL_SAFE_NO_PAD.decode("nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A").expect("base64url");
    let key = SigningKey::ed25519(&seed).expect("a key");
    assert_eq!(key.public().kid(), Some("kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"));
    assert_eq!(key.public().to_jwk()["x"], "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo");
}

#[test]
fn what_is_signed_here_verifies_here_by_the_published_key() {
    let p256 = SigningKey::make_p256().expect("randomness");
    let keys = [SigningKey::ed25519(&[7; 32]).expect("a key"), SigningKey::p256(&p256).expect("a key")];
    let set = json!({ "keys": keys.iter().map(|key| key.public().to_jwk()).collect::<Vec<_>>() });
    let set = KeySet::parse(set.to_string().as_bytes()).expect("a set");
    for key in &keys {
        let claims = json!({ "iss": "switchyard", "aud": ["a", "b"], "exp": 100, "iat": 50, "tenant": { "slug": "acme" } });
        let token = key.sign("at+jwt", &claims).expect("a token");
        let parsed = Unverified::parse(&token).expect("a token");
        let found = set.find(parsed.kid(), key.algorithm()).expect("the key");
        let verified = parsed.verify(found, &[key.algorithm()]).expect("the signature");
        assert_eq!((verified.typ(), verified.kid()), (Some("at+jwt"), key.public().kid()));
        let now = Timestamp::from_micros(60_000_000);
        let claims = verified.into_claims();
        assert_eq!(
            claims.check(now, Duration::ZERO, "switchyard", &["b"]),
            Ok(Timestamp::from_micros(100_000_000))
        );
        assert_eq!(claims.at("tenant.slug"), Some(&json!("acme")));
        assert!(!format!("{key:?}").contains("pkcs8"));
    }
    assert_eq!(set.keys().len(), 2);
    assert!(SigningKey::p256(b"no key").is_err() && SigningKey::ed25519(b"short").is_err());
}

#[test]
fn sets_keep_what_is_safe_and_find_by_id() {
    let good = json!({ "kty": "RSA", "n": RSA_N, "e": "AQAB", "kid": "r" });
    let twin = json!({ "kty": "RSA", "n": RSA_N, "e": "AQAB", "kid": "r2", "alg": "PS256" });
    let bad = [
        (json!({ "kty": "oct", "k": "c2VjcmV0", "kid": "s" }), KeyError::Kind),
        (json!({ "kty": "RSA", "n": WEAK_N, "e": "AQAB" }), KeyError::Kind),
        (json!({ "kty": "RSA", "n": RSA_N, "e": "AQAB", "use": "enc" }), KeyError::Use),
        (json!({ "kty": "RSA", "n": RSA_N, "e": "AQAB", "alg": "HS256" }), KeyError::Use),
        (json!({ "kty": "RSA", "n": RSA_N, "e": "AQAB", "alg": "ES256" }), KeyError::Use),
        (json!({ "kty": "RSA", "n": RSA_N, "e": "AQAB", "key_ops": ["encrypt"] }), KeyError::Use),
        (json!({ "kty": "EC", "crv": "secp256k1", "x": "AA", "y": "AA" }), KeyError::Kind),
        (json!({ "kty": "OKP", "crv": "Ed25519", "x": "AA" }), KeyError::Form),
        (json!({ "kty": "RSA", "n": RSA_N, "e": "AQAB", "kid": "x".repeat(300) }), KeyError::Form),
        (json!("no object"), KeyError::Form),
    ];
    let mut listed = vec![good, twin];
    for (jwk, error) in bad {
        assert_eq!(Key::from_jwk(&jwk), Err(error), "{jwk}");
        listed.push(jwk);
    }
    let set = KeySet::parse(json!({ "keys": listed }).to_string().as_bytes()).expect("a set");
    assert_eq!(set.keys().len(), 2);
    let kid = |kid, algorithm| set.find(kid, algorithm).and_then(Key::kid);
    assert_eq!(kid(Some("r"), Algorithm::Rs256), Some("r"));
    assert_eq!(kid(Some("r2"), Algorithm::Rs256), None, "its publisher says PS256");
    assert_eq!(kid(None, Algorithm::Rs256), Some("r"), "only one fits");
    assert_eq!(kid(None, Algorithm::Ps256), None, "two fit");
    assert_eq!(kid(Some("../r"), Algorithm::Rs256), None);
    for text in ["", "[]", "{}", r#"{"keys": 1}"#, r#"{"keys": [], "keys": []}"#] {
        assert!(KeySet::parse(text.as_bytes()).is_err(), "{text}");
    }
    let huge = format!(r#"{{"keys": [], "x": "{}"}}"#, "x".repeat(tokens::SET_BYTES_MAX));
    assert!(KeySet::parse(huge.as_bytes()).is_err());
}
