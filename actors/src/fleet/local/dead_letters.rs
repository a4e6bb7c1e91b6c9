//! Handing dead letters in again on this node.

use std::sync::Arc;
use std::time::Duration;

use voltree_runtime::Outcome;

use super::LocalFleet;
use crate::dead_letters::{ClaimError, DeadLetter};
use crate::fleet::{Answer, FleetError, SetAside};
use crate::mqtt::SetAsideMessage;
use crate::now;

/// How long a letter may wait for space at the door, and for its commit.
const PATIENCE: Duration = Duration::from_secs(10);

impl SetAside for LocalFleet {
    fn letters(&self) -> Vec<Arc<DeadLetter>> {
        self.dead_letters.list()
    }

    fn replay(&self, id: &str) -> Answer<'_, Arc<DeadLetter>> {
        let claimed = self.dead_letters.claim(id).map_err(|error| match error {
            ClaimError::Unknown => FleetError::UnknownLetter(id.to_owned()),
            ClaimError::Claimed => FleetError::NotNow(error.to_string()),
        });
        Box::pin(async move {
            let claim = claimed?;
            let letter = Arc::clone(claim.letter());
            tokio::time::timeout(PATIENCE, self.hand_in(&letter)).await.map_err(|_| {
                FleetError::NotNow(format!(
                    "{} was not committed within {} s; it is listed until it is",
                    letter.id(),
                    PATIENCE.as_secs()
                ))
            })??;
            tokio::task::spawn_blocking(move || claim.delivered())
                .await
                .map_err(|error| FleetError::Store(error.to_string()))?
                .map_err(|error| FleetError::Store(error.to_string()))?;
            Ok(letter)
        })
    }

    fn messages(&self) -> Result<Vec<SetAsideMessage>, FleetError> {
        Ok(self.mqtt.broker().set_aside()?)
    }

    fn forward_again(&self, id: &str) -> Answer<'_, SetAsideMessage> {
        let id = id.to_owned();
        Box::pin(async move {
            let broker = self.mqtt.broker();
            let unknown = || FleetError::UnknownMessage(id.clone());
            let message =
                broker.set_aside()?.into_iter().find(|message| message.id == id).ok_or_else(unknown)?;
            let offered = broker.forward_again(&message, now())?.ok_or_else(unknown)?;
            match tokio::time::timeout(PATIENCE, offered).await {
                Ok(true) => Ok(message),
                Ok(false) | Err(_) => {
                    Err(FleetError::NotNow(format!("the journal does not take {id} now; try again")))
                }
            }
        })
    }
}

impl LocalFleet {
    /// Accepts a letter's content anew and waits until it is settled; set aside once more is settled too.
    async fn hand_in(&self, letter: &DeadLetter) -> Result<(), FleetError> {
        let now = now();
        let entry = self.registry.adopt(&letter.device, now);
        let receipt = entry.intake.accept(letter.inbound.clone()).await;
        let receipt = receipt.map_err(|refused| FleetError::NotNow(refused.to_string()))?;
        entry.arrived(now);
        match receipt.await {
            Ok(Outcome::Done | Outcome::DeadLettered) => Ok(()),
            Ok(Outcome::Unknown) | Err(_) => {
                Err(FleetError::NotNow("what became of it is not known".to_owned()))
            }
        }
    }
}
