//! What a battery can be told: the contract's actions, and the order that each stands for.
//!
//! Pure. Must refuse whatever is not exactly one of them, before anything is written down.

use serde_json::Value;
use voltree_model::Percent;
use voltree_protocols::bms::order::Order;

/// The actions there are, each with its parameter.
const ACTIONS: &str = "set_charge {\"on\": true}, set_discharge {\"on\": true}, set_soc {\"percent\": 80}";

/// The order that an action stands for; the error names the argument that does not fit.
pub(super) fn order(action: &str, params: &Value) -> Result<Order, String> {
    let param = |name: &str| match params {
        Value::Object(given) if given.len() == 1 => given.get(name),
        Value::Object(_)
        | Value::Null
        | Value::Bool(_)
        | Value::Number(_)
        | Value::String(_)
        | Value::Array(_) => None,
    };
    let unfit = || format!("params: expected one of {ACTIONS}");
    let on = || param("on").and_then(Value::as_bool).ok_or_else(unfit);
    match action {
        "set_charge" => Ok(Order::SwitchCharge(on()?)),
        "set_discharge" => Ok(Order::SwitchDischarge(on()?)),
        "set_soc" => {
            let percent = param("percent").and_then(Value::as_f64).filter(|soc| (0.0..=100.0).contains(soc));
            percent.map(|percent| Order::SetSoc(Percent(percent))).ok_or_else(unfit)
        }
        _ => Err(format!("action: a battery has no such action; expected one of {ACTIONS}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_action_with_its_one_parameter_is_an_order_and_nothing_else_is() {
        assert_eq!(order("set_charge", &json!({ "on": true })), Ok(Order::SwitchCharge(true)));
        assert_eq!(order("set_soc", &json!({ "percent": 42.5 })), Ok(Order::SetSoc(Percent(42.5))));
        for (action, params, named) in [
            ("explode", Value::Null, "action: "),
            ("set_charge", Value::Null, "params: "),
            ("set_charge", json!({ "on": 1 }), "params: "),
            ("set_charge", json!({ "on": true, "off": false }), "params: "),
            ("set_soc", json!({ "percent": 101 }), "params: "),
        ] {
            let refused = order(action, &params).unwrap_err();
            assert!(refused.starts_with(named), "{action} {params}: {refused}");
        }
    }
}
