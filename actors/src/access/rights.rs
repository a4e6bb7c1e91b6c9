//! What a user may publish and subscribe to.

use voltree_model::DeviceId;
use voltree_protocols::mqtt::{DeviceTopic, Filter};

/// Topic filters, apart for each direction. No filter means nothing is allowed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rights {
    /// What may be published to.
    pub publish: Vec<Filter>,
    /// What subscriptions must lie within.
    pub subscribe: Vec<Filter>,
}

impl Rights {
    /// A native device speaks for itself alone, and can't forge its own commands.
    pub fn of_device(id: &DeviceId) -> Self {
        // An id holds no wildcard, so each of these topics is a filter that matches itself.
        let exactly = |topic: DeviceTopic| Filter::parse(topic.to_string()).ok();
        let own = || id.clone();
        let publish =
            [DeviceTopic::Telemetry(own()), DeviceTopic::Status(own()), DeviceTopic::CommandAck(own())];
        let subscribe = [DeviceTopic::Commands(own()), DeviceTopic::Config(own())];
        Self {
            publish: publish.into_iter().filter_map(exactly).collect(),
            subscribe: subscribe.into_iter().filter_map(exactly).collect(),
        }
    }

    /// Whether a message may be published to this topic.
    pub fn may_publish(&self, topic: &str) -> bool {
        self.publish.iter().any(|filter| filter.matches(topic))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_may_speak_of_itself_and_of_nothing_else() {
        let rights = Rights::of_device(&DeviceId::new("pack-1").unwrap());
        let allowed = ["telemetry", "status", "commands/ack"];
        for topic in allowed {
            assert!(rights.may_publish(&format!("devices/pack-1/{topic}")), "{topic}");
            assert!(!rights.may_publish(&format!("devices/pack-2/{topic}")), "{topic}");
        }
        for topic in
            ["devices/pack-1/commands", "devices/pack-1/config", "other", "devices/pack-1/telemetry/x"]
        {
            assert!(!rights.may_publish(topic), "{topic}");
        }
        let hears = |filter: &str| {
            let filter = Filter::parse(filter).unwrap();
            rights.subscribe.iter().any(|allowed| allowed.covers(&filter))
        };
        assert!(hears("devices/pack-1/commands") && hears("devices/pack-1/config"));
        assert!(!hears("devices/+/commands") && !hears("#") && !hears("devices/pack-1/telemetry"));
    }

    #[test]
    fn whoever_has_no_filters_may_do_nothing() {
        assert!(!Rights::default().may_publish("devices/a/telemetry"));
    }
}
