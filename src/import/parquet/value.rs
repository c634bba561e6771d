//! Arrow values as JSON, for metadata.
//!
//! | Arrow | JSON |
//! |---|---|
//! | null, NaN | nothing: the key is left out |
//! | boolean, integer, float | boolean, number |
//! | string | string |
//! | timestamp (UTC where it has no zone), date, time | string as in RFC 3339 |
//! | decimal, duration, interval | string: a JSON number would round it |
//! | list | array |
//! | struct, map | object |
//! | binary, union | refused |

use arrow::array::{Array, AsArray};
use arrow::datatypes::{
    ArrowPrimitiveType, DataType, Date32Type, Date64Type, Field, Float16Type, Float32Type, Float64Type,
    Int8Type, Int16Type, Int32Type, Int64Type, TimeUnit, TimestampMicrosecondType, TimestampMillisecondType,
    TimestampNanosecondType, TimestampSecondType, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use arrow::util::display::array_value_to_string;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::{Map, Number, Value};

/// Refuses types that have no JSON form; the reason names the column.
pub(super) fn check_type(field: &Field) -> Result<(), String> {
    let kind = field.data_type();
    if supported(kind) {
        return Ok(());
    }
    Err(format!("column `{}` can't be metadata: {kind} holds values that JSON can't", field.name()))
}

fn supported(kind: &DataType) -> bool {
    use DataType as T;
    match kind {
        T::Binary | T::LargeBinary | T::BinaryView | T::FixedSizeBinary(_) => false,
        T::Union(..) | T::RunEndEncoded(..) | T::ListView(_) | T::LargeListView(_) => false,
        T::List(item) | T::LargeList(item) | T::FixedSizeList(item, _) | T::Map(item, _) => {
            supported(item.data_type())
        }
        T::Struct(fields) => fields.iter().all(|field| supported(field.data_type())),
        T::Dictionary(_, values) => supported(values),
        _ => true,
    }
}

/// The value in `row`; `None` where it is null.
pub(super) fn value(array: &dyn Array, row: usize) -> Result<Option<Value>, String> {
    use DataType as T;
    if array.is_null(row) {
        return Ok(None);
    }
    Ok(Some(match array.data_type() {
        T::Null => return Ok(None),
        T::Boolean => array.as_boolean().value(row).into(),
        T::Int8 => primitive::<Int8Type>(array, row).into(),
        T::Int16 => primitive::<Int16Type>(array, row).into(),
        T::Int32 => primitive::<Int32Type>(array, row).into(),
        T::Int64 => primitive::<Int64Type>(array, row).into(),
        T::UInt8 => primitive::<UInt8Type>(array, row).into(),
        T::UInt16 => primitive::<UInt16Type>(array, row).into(),
        T::UInt32 => primitive::<UInt32Type>(array, row).into(),
        T::UInt64 => primitive::<UInt64Type>(array, row).into(),
        T::Float16 => return float(shortest(primitive::<Float16Type>(array, row).to_f32())),
        T::Float32 => return float(shortest(primitive::<Float32Type>(array, row))),
        T::Float64 => return float(primitive::<Float64Type>(array, row)),
        T::Utf8 => array.as_string::<i32>().value(row).into(),
        T::LargeUtf8 => array.as_string::<i64>().value(row).into(),
        T::Utf8View => array.as_string_view().value(row).into(),
        T::Timestamp(unit, _) => timestamp(*unit, array, row)?.to_string().into(),
        T::Date32 => date(i64::from(primitive::<Date32Type>(array, row)))?,
        T::Date64 => date(primitive::<Date64Type>(array, row).div_euclid(86_400_000))?,
        T::List(_) => list(array.as_list::<i32>().value(row).as_ref())?,
        T::LargeList(_) => list(array.as_list::<i64>().value(row).as_ref())?,
        T::FixedSizeList(..) => list(array.as_fixed_size_list().value(row).as_ref())?,
        T::Struct(fields) => {
            let mut object = Map::new();
            for (field, column) in fields.iter().zip(array.as_struct().columns()) {
                if let Some(value) = value(column.as_ref(), row)? {
                    object.insert(field.name().clone(), value);
                }
            }
            object.into()
        }
        T::Map(..) => {
            let entries = array.as_map().value(row);
            let mut object = Map::new();
            if let [keys, values] = entries.columns() {
                for entry in 0..entries.len() {
                    let key = array_value_to_string(keys, entry).map_err(|error| error.to_string())?;
                    if let Some(value) = value(values.as_ref(), entry)? {
                        object.insert(key, value);
                    }
                }
            }
            object.into()
        }
        T::Dictionary(..) => {
            let dictionary = array.as_any_dictionary();
            let key = dictionary.normalized_keys().get(row).copied().ok_or("the dictionary is damaged")?;
            return value(dictionary.values().as_ref(), key);
        }
        // decimals, times, durations, intervals
        _ => array_value_to_string(array, row).map_err(|error| error.to_string())?.into(),
    }))
}

fn primitive<T: ArrowPrimitiveType>(array: &dyn Array, row: usize) -> T::Native {
    array.as_primitive::<T>().value(row)
}

/// The f64 that is written like `value`: 0.1f32 becomes 0.1, not 0.10000000149011612.
fn shortest(value: f32) -> f64 {
    value.to_string().parse().unwrap_or(f64::from(value))
}

fn float(value: f64) -> Result<Option<Value>, String> {
    if value.is_nan() {
        return Ok(None);
    }
    Number::from_f64(value)
        .map(|number| Some(number.into()))
        .ok_or_else(|| format!("{value} is not a JSON number"))
}

fn list(items: &dyn Array) -> Result<Value, String> {
    let mut values = Vec::with_capacity(items.len());
    for row in 0..items.len() {
        values.extend(value(items, row)?);
    }
    Ok(values.into())
}

fn timestamp(unit: TimeUnit, array: &dyn Array, row: usize) -> Result<Timestamp, String> {
    let timestamp = match unit {
        TimeUnit::Second => Timestamp::from_second(primitive::<TimestampSecondType>(array, row)),
        TimeUnit::Millisecond => {
            Timestamp::from_millisecond(primitive::<TimestampMillisecondType>(array, row))
        }
        TimeUnit::Microsecond => {
            Timestamp::from_microsecond(primitive::<TimestampMicrosecondType>(array, row))
        }
        TimeUnit::Nanosecond => {
            Timestamp::from_nanosecond(i128::from(primitive::<TimestampNanosecondType>(array, row)))
        }
    };
    timestamp.map_err(|_| "the timestamp is beyond the year 9999".to_owned())
}

fn date(days: i64) -> Result<Value, String> {
    let midnight = days.checked_mul(86_400).and_then(|seconds| Timestamp::from_second(seconds).ok());
    let midnight = midnight.ok_or("the date is beyond the year 9999")?;
    Ok(midnight.to_zoned(TimeZone::UTC).date().to_string().into())
}
