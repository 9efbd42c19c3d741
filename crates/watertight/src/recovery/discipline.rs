//! What a fault means beyond its own connection: for the identity behind it, and for the activity it happened in.

use std::sync::Arc;

use crate::activity::Activity;
use crate::breaker::Tripped;
use crate::compartment::Compartment;
use crate::fault::{Attribution, Fault};
use crate::identity::Identity;
use crate::incident::IncidentId;
use crate::inner::Inner;
use crate::moment::Moment;
use crate::policy::Verdict;
use crate::quarantine::{Held, Strike};
use crate::registry::Registry;

impl Inner {
    /// Counts a fault that seals `compartment` against its identity. Answers the quarantine that this led to.
    pub(super) fn strike(
        &self,
        compartment: &Arc<Compartment>,
        fault: Fault,
        verdict: Verdict,
        id: IncidentId,
    ) -> Option<Held> {
        // Nobody's client makes the transport's own code get stuck or forget it.
        if matches!(fault, Fault::Deaf | Fault::Orphan) {
            return None;
        }
        // Who takes too little may only have a bad network. It is refused when its score says so, which two ends in a
        // minute are not enough for.
        if fault == Fault::SlowConsumer && verdict != Verdict::Quarantine {
            return None;
        }
        let identity = compartment.identity()?;
        let shared = || others_in_good_standing(compartment, &identity);
        let strike = if verdict == Verdict::Quarantine {
            let reason = format!("a verdict on {}", fault.code());
            self.quarantine.hold(&identity, id, reason, Moment::now(), shared)
        } else {
            self.quarantine.strike(&identity, id, Moment::now(), shared)
        };
        let Strike::Quarantined(held) = strike else { return None };
        self.counters.quarantined.add();
        self.remember(&identity);
        Some(held)
    }

    /// Writes a quarantine down.
    pub(crate) fn remember(&self, identity: &Identity) {
        if let Some(store) = &self.store
            && let Some(entry) = self.quarantine.entry(identity, Moment::now().instant)
        {
            crate::guard::quietly(|| store.quarantined(&entry));
        }
    }

    /// Counts a fault against the activity that it happened in, unless nobody knows whose or in what.
    pub(super) fn blame(
        &self,
        activity: Option<&Activity>,
        compartment: &Compartment,
        fault: Fault,
        attribution: Attribution,
    ) -> Option<Tripped> {
        // What a client sends too much of, or does not read, is not the handler's doing.
        let of_a_handler = matches!(fault, Fault::Panic | Fault::Deadline | Fault::Stall);
        if !of_a_handler || attribution != Attribution::Exact {
            return None;
        }
        let tripped = self.breakers.fault(activity?, &compartment.identity()?, Moment::now().instant)?;
        self.counters.tripped.add();
        Some(tripped)
    }
}

/// How many are looked at before all are.
const FEW: usize = 16;

/// Whether somebody else, who has done nothing wrong, uses the same address: then it is a proxy's or a household's, and
/// refusing it would punish them.
fn others_in_good_standing(compartment: &Compartment, identity: &Identity) -> bool {
    let Identity::Address(_) = identity else { return false };
    let is_other = |other: &Compartment| {
        other.key() != compartment.key()
            && other.is_live()
            && other.failed_events() == 0
            && other.client().map(Identity::of_address).as_ref() == Some(identity)
    };
    // Nearly always one of the first is one: a list of all would take longer than all else that a fault takes.
    let serves = |most| Registry::global().some(most, is_other).iter().any(|other| other.serves());
    serves(FEW) || serves(usize::MAX)
}
