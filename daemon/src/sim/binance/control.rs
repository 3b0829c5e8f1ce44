//! Binance's control requests: subscriptions and properties, in its words and numbers.
//!
//! What holds: a request that cannot be met changes nothing.

use super::streams::Streams;
use serde_json::Value;

/// A control request that cannot be met, in Binance's words and numbers.
#[derive(Debug, thiserror::Error)]
enum ControlError {
    #[error("Unknown property")]
    Property,
    #[error("Invalid value type: expected Boolean")]
    Boolean,
    #[error("Invalid request: property name must be a string")]
    PropertyName,
    #[error(
        "Invalid request: request ID must be an unsigned integer, a string of at most 36 characters or null"
    )]
    Id,
    #[error(
        "Invalid request: unknown variant {0}, expected one of SUBSCRIBE, UNSUBSCRIBE, LIST_SUBSCRIPTIONS, \
         SET_PROPERTY, GET_PROPERTY"
    )]
    Method(String),
    #[error("Invalid request: missing field `method`")]
    NoMethod,
    #[error("Invalid request: params must be a list of stream names")]
    Params,
    #[error("Invalid request: there is no stream {0}")]
    Stream(String),
    #[error("Invalid JSON: {0}")]
    Json(serde_json::Error),
}

impl ControlError {
    fn code(&self) -> u8 {
        match self {
            Self::Property => 0,
            Self::Boolean => 1,
            Self::Json(_) => 3,
            _ => 2,
        }
    }
}

/// The answer to a control request, which it carries out.
pub(super) fn control(
    request: &[u8],
    streams: &Streams,
    subscribed: &mut [bool],
    combined: &mut bool,
) -> String {
    let request = serde_json::from_slice::<Value>(request);
    let id = request.as_ref().map_or(Value::Null, |request| request["id"].clone());
    let good_id = match &id {
        Value::Null | Value::Number(_) => id.is_null() || id.is_u64(),
        Value::String(text) => text.chars().count() <= 36,
        _ => false,
    };
    let outcome = match request {
        Err(error) => Err(ControlError::Json(error)),
        Ok(_) if !good_id => Err(ControlError::Id),
        Ok(request) => carry_out(&request, streams, subscribed, combined),
    };
    let id = if good_id { id } else { Value::Null };
    match outcome {
        Ok(result) => format!(r#"{{"result":{result},"id":{id}}}"#),
        Err(error) => {
            let (code, message) = (error.code(), Value::from(error.to_string()));
            format!(r#"{{"error":{{"code":{code},"msg":{message}}},"id":{id}}}"#)
        }
    }
}

fn carry_out(
    request: &Value,
    streams: &Streams,
    subscribed: &mut [bool],
    combined: &mut bool,
) -> Result<Value, ControlError> {
    let method = request["method"].as_str().ok_or(ControlError::NoMethod)?;
    match method {
        "SUBSCRIBE" | "UNSUBSCRIBE" => {
            // All names are looked up before one is changed: a bad request changes nothing.
            for stream in named(&request["params"], streams)? {
                subscribed[stream] = method == "SUBSCRIBE";
            }
            Ok(Value::Null)
        }
        "LIST_SUBSCRIPTIONS" => {
            Ok((0..streams.len()).filter(|&i| subscribed[i]).map(|i| streams.name(i)).collect())
        }
        "SET_PROPERTY" | "GET_PROPERTY" => {
            match request["params"][0].as_str() {
                Some("combined") => {}
                Some(_) => return Err(ControlError::Property),
                None => return Err(ControlError::PropertyName),
            }
            if method == "GET_PROPERTY" {
                return Ok(Value::Bool(*combined));
            }
            *combined = request["params"][1].as_bool().ok_or(ControlError::Boolean)?;
            Ok(Value::Null)
        }
        other => Err(ControlError::Method(other.to_owned())),
    }
}

fn named(params: &Value, streams: &Streams) -> Result<Vec<usize>, ControlError> {
    let names = params.as_array().filter(|names| !names.is_empty()).ok_or(ControlError::Params)?;
    let find = |name: &Value| {
        let name = name.as_str().ok_or(ControlError::Params)?;
        streams.find(name).ok_or_else(|| ControlError::Stream(name.to_owned()))
    };
    names.iter().map(find).collect()
}

#[cfg(test)]
mod tests {
    use super::super::super::SymbolSpec;
    use super::*;

    #[test]
    fn control_requests_are_answered_in_binances_words() {
        let streams = Streams::new(&SymbolSpec::defaults());
        let (mut subscribed, mut combined) = (vec![false; streams.len()], false);
        let mut ask = |request: &str| control(request.as_bytes(), &streams, &mut subscribed, &mut combined);

        let subscribe = r#"{"method":"SUBSCRIBE","params":["btcusdt@trade","adausdt@kline_1M"],"id":1}"#;
        assert_eq!(ask(subscribe), r#"{"result":null,"id":1}"#);
        let list = r#"{"method":"LIST_SUBSCRIPTIONS","id":"x"}"#;
        assert_eq!(ask(list), r#"{"result":["btcusdt@trade","adausdt@kline_1M"],"id":"x"}"#);
        ask(r#"{"method":"UNSUBSCRIBE","params":["btcusdt@trade"],"id":2}"#);
        let half_bad = r#"{"method":"SUBSCRIBE","params":["btcusdt@depth","nosuch@trade"],"id":3}"#;
        assert!(
            ask(half_bad)
                .starts_with(r#"{"error":{"code":2,"msg":"Invalid request: there is no stream nosuch"#)
        );
        assert_eq!(ask(list), r#"{"result":["adausdt@kline_1M"],"id":"x"}"#);

        assert_eq!(
            ask(r#"{"method":"SET_PROPERTY","params":["combined",true],"id":4}"#),
            r#"{"result":null,"id":4}"#
        );
        assert_eq!(
            ask(r#"{"method":"GET_PROPERTY","params":["combined"],"id":5}"#),
            r#"{"result":true,"id":5}"#
        );
        for (bad, code) in [
            (r#"{"method":"SET_PROPERTY","params":["shade",true],"id":1}"#, 0),
            (r#"{"method":"SET_PROPERTY","params":["combined",1],"id":1}"#, 1),
            (r#"{"method":"DANCE","id":1}"#, 2),
            (r#"{"method":"SUBSCRIBE","params":"btcusdt@trade","id":1}"#, 2),
            (r#"{"method":"SUBSCRIBE","params":[],"id":1}"#, 2),
            (r#"{"method":"LIST_SUBSCRIPTIONS","id":-1}"#, 2),
            (r#"{"id":1}"#, 2),
            ("[]", 2),
            ("{", 3),
        ] {
            let answer = ask(bad);
            assert!(answer.starts_with(&format!(r#"{{"error":{{"code":{code},"#)), "{bad} got {answer}");
        }
    }
}
