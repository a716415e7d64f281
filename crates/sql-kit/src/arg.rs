//! Bound values. Each keeps its type when it is null, because PostgreSQL wants to know the type of a null.

use std::fmt;

use sqlx::postgres::PgArguments;
use sqlx::sqlite::SqliteArguments;
use sqlx::{Arguments, Database, Encode, Type};

use crate::{Sql, SqlError};

/// One bound value.
#[derive(Clone, PartialEq, Eq)]
pub enum Arg {
    Int(Option<i64>),
    Bool(Option<bool>),
    Text(Option<String>),
    Bytes(Option<Vec<u8>>),
}

/// Shows the kind only: arguments hold digests, personal data and sealed keys.
impl fmt::Debug for Arg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Int(_) => "Int",
            Self::Bool(_) => "Bool",
            Self::Text(_) => "Text",
            Self::Bytes(_) => "Bytes",
        })
    }
}

/// Makes the array of bound values of a statement: `args![id, created_at, None::<String>]`.
#[macro_export]
macro_rules! args {
    () => { [] as [$crate::Arg; 0] };
    ($($value:expr),+ $(,)?) => { [$($crate::Arg::from($value)),+] };
}

macro_rules! from {
    ($($from:ty => $variant:ident($value:ident) $convert:expr),+ $(,)?) => { $(
        impl From<$from> for Arg {
            fn from($value: $from) -> Self { Self::$variant(Some($convert)) }
        }
        impl From<Option<$from>> for Arg {
            fn from(value: Option<$from>) -> Self { Self::$variant(value.map(|$value| $convert)) }
        }
    )+ };
}

from! {
    i64 => Int(value) value,
    i32 => Int(value) i64::from(value),
    u32 => Int(value) i64::from(value),
    u16 => Int(value) i64::from(value),
    bool => Bool(value) value,
    String => Text(value) value,
    &str => Text(value) value.to_owned(),
    &String => Text(value) value.clone(),
    Vec<u8> => Bytes(value) value,
    &[u8] => Bytes(value) value.to_vec(),
    &Vec<u8> => Bytes(value) value.clone(),
}

impl<const N: usize> From<[u8; N]> for Arg {
    fn from(value: [u8; N]) -> Self {
        Self::Bytes(Some(value.to_vec()))
    }
}

impl<const N: usize> From<&[u8; N]> for Arg {
    fn from(value: &[u8; N]) -> Self {
        Self::Bytes(Some(value.to_vec()))
    }
}

pub(crate) fn sqlite(sql: Sql, args: impl IntoIterator<Item = Arg>) -> Result<Option<SqliteArguments>, SqlError> {
    bind(sql, args)
}

pub(crate) fn postgres(sql: Sql, args: impl IntoIterator<Item = Arg>) -> Result<Option<PgArguments>, SqlError> {
    bind(sql, args)
}

/// The arguments as the driver takes them; `None` when there is nothing to ask.
///
/// PostgreSQL has no text with a NUL in it. So that the engines agree, and a stranger's `%00` is no fault of the database: no
/// row of either has one, what looks for one finds nothing, and what would store one is refused.
fn bind<A, D>(sql: Sql, args: impl IntoIterator<Item = Arg>) -> Result<Option<A>, SqlError>
where
    D: Database<Arguments = A>,
    A: Arguments<Database = D> + Default,
    for<'q> Option<i64>: Encode<'q, D> + Type<D>,
    for<'q> Option<bool>: Encode<'q, D> + Type<D>,
    for<'q> Option<String>: Encode<'q, D> + Type<D>,
    for<'q> Option<Vec<u8>>: Encode<'q, D> + Type<D>,
{
    let expected = sql.texts().parameters;
    let mut bound = A::default();
    bound.reserve(expected, 0);
    let mut impossible = false;
    for arg in args {
        impossible |= matches!(&arg, Arg::Text(Some(text)) if text.contains('\0'));
        match arg {
            Arg::Int(value) => bound.add(value),
            Arg::Bool(value) => bound.add(value),
            Arg::Text(value) => bound.add(value),
            Arg::Bytes(value) => bound.add(value),
        }
        .map_err(|_| SqlError::Other("a parameter cannot be encoded".into()))?;
    }
    // SQLite would take a missing parameter for a null.
    if bound.len() != expected {
        let found = bound.len();
        return Err(SqlError::Other(format!(
            "a statement on {} takes {expected} parameters, not {found}",
            sql.table()
        )));
    }
    if impossible && !sql.only_looks() {
        return Err(SqlError::Other(format!("a text for {} holds a NUL", sql.table())));
    }
    Ok((!impossible).then_some(bound))
}
