//! Values in and out of the binary protocol.

use std::error::Error as StdError;

use bytes::{BufMut, BytesMut};
use tokio_postgres::types::{FromSql, IsNull, Kind, ToSql, Type, to_sql_checked};

use crate::{Column as Kept, Param, Rows, Value};

type Refused = Box<dyn StdError + Sync + Send>;

impl ToSql for Value {
    fn to_sql(&self, ty: &Type, out: &mut BytesMut) -> Result<IsNull, Refused> {
        match (self, ty) {
            (Self::Null, _) => Ok(IsNull::Yes),
            (Self::Text(text), &Type::TEXT | &Type::VARCHAR | &Type::BPCHAR | &Type::NAME | &Type::JSON) => {
                text.as_str().to_sql(ty, out)
            }
            (Self::Int(number), &Type::INT8) => number.to_sql(ty, out),
            (Self::Int(number), &Type::INT4) => i32::try_from(*number)?.to_sql(ty, out),
            (Self::Int(number), &Type::INT2) => i16::try_from(*number)?.to_sql(ty, out),
            (Self::Int(number), &Type::FLOAT8) => (*number as f64).to_sql(ty, out),
            (Self::Bool(truth), &Type::BOOL) => truth.to_sql(ty, out),
            (Self::Real(number), &Type::FLOAT8) => number.to_sql(ty, out),
            (Self::Blob(bytes), &Type::BYTEA) => bytes.as_slice().to_sql(ty, out),
            (given, _) => Err(format!("{} is given where {ty} is wanted", given.kind()).into()),
        }
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}

/// A column of any type that statements of ours may answer.
pub(crate) struct Column(pub(crate) Value);

impl<'a> FromSql<'a> for Column {
    fn from_sql(ty: &Type, raw: &'a [u8]) -> Result<Self, Refused> {
        Ok(Self(match *ty {
            Type::BOOL => Value::Bool(bool::from_sql(ty, raw)?),
            Type::INT8 => Value::Int(i64::from_sql(ty, raw)?),
            Type::INT4 => Value::Int(i32::from_sql(ty, raw)?.into()),
            Type::INT2 => Value::Int(i16::from_sql(ty, raw)?.into()),
            Type::OID => Value::Int(u32::from_sql(ty, raw)?.into()),
            Type::FLOAT8 => Value::Real(f64::from_sql(ty, raw)?),
            Type::FLOAT4 => Value::Real(f32::from_sql(ty, raw)?.into()),
            Type::TEXT | Type::VARCHAR | Type::BPCHAR | Type::NAME | Type::UNKNOWN | Type::JSON => {
                Value::Text(String::from_sql(ty, raw)?)
            }
            Type::BYTEA => Value::Blob(Vec::from_sql(ty, raw)?),
            Type::VOID => Value::Null,
            _ => return Err(format!("a column is {ty}: cast it in the statement").into()),
        }))
    }

    fn from_sql_null(_: &Type) -> Result<Self, Refused> {
        Ok(Self(Value::Null))
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}

/// A column of a batch as an array of the binary protocol (`array_recv` of PostgreSQL), written without a copy between.
#[derive(Debug)]
pub(crate) struct Array<'a> {
    pub(crate) rows: &'a Rows<'a>,
    pub(crate) index: usize,
    pub(crate) kind: Kept,
}

impl ToSql for Array<'_> {
    fn to_sql(&self, ty: &Type, out: &mut BytesMut) -> Result<IsNull, Refused> {
        let wanted = match self.kind {
            Kept::Int => Type::INT8,
            Kept::Bool => Type::BOOL,
            Kept::Real => Type::FLOAT8,
            Kept::Text => Type::TEXT,
            Kept::Blob => Type::BYTEA,
        };
        match ty.kind() {
            Kind::Array(element) if *element == wanted => {}
            _ => return Err(format!("an array of {wanted} is given where {ty} is wanted").into()),
        }
        let has_null = self.rows.column(self.index).any(|param| matches!(param, Param::Null));
        out.put_i32(1);
        out.put_i32(i32::from(has_null));
        out.put_u32(wanted.oid());
        out.put_i32(i32::try_from(self.rows.len())?);
        out.put_i32(1);
        for param in self.rows.column(self.index) {
            element(self.kind, param, out)?;
        }
        Ok(IsNull::No)
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}

/// An element with its length before it, -1 for NULL.
fn element(kind: Kept, param: &Param<'_>, out: &mut BytesMut) -> Result<(), Refused> {
    match (kind, param) {
        (_, Param::Null) => out.put_i32(-1),
        (Kept::Int, Param::Int(number)) => {
            out.put_i32(8);
            out.put_i64(*number);
        }
        (Kept::Bool, Param::Bool(truth)) => {
            out.put_i32(1);
            out.put_u8((*truth).into());
        }
        (Kept::Real, Param::Real(number)) => {
            out.put_i32(8);
            out.put_f64(*number);
        }
        (Kept::Text, Param::Text(text)) => sized(text.as_bytes(), out)?,
        (Kept::Blob, Param::Blob(bytes)) => sized(bytes, out)?,
        (wanted, given) => return Err(format!("{} is given where {wanted:?} is wanted", given.kind()).into()),
    }
    Ok(())
}

fn sized(bytes: &[u8], out: &mut BytesMut) -> Result<(), Refused> {
    out.put_i32(i32::try_from(bytes.len())?);
    out.put_slice(bytes);
    Ok(())
}
