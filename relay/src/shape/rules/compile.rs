//! From what was written to rules that can be applied; every mistake of every rule at once.

use crate::shape::rules::condition::Condition;
use crate::shape::rules::effects::Strategy;
use crate::shape::rules::options::{Does, RuleOptions, WrongRule};
use crate::shape::rules::template::{Template, Use};
use crate::shape::rules::{Action, FanOut, Rule, Rules};

/// Steps in which a window moves on: a day by minutes.
const BUCKETS_MAX: u128 = 1440;

/// Collects what is wrong with one rule.
struct Check<'a> {
    rule: &'a RuleOptions,
    cluster: bool,
    wrong: Vec<WrongRule>,
}

impl Rules {
    /// Checks rules, for a cluster or a single server.
    ///
    /// # Errors
    /// Everything that is wrong.
    pub fn compile(written: &[RuleOptions], cluster: bool) -> Result<Self, Vec<WrongRule>> {
        let (mut rules, mut wrong) = (Vec::new(), Vec::new());
        for rule in written {
            let mut check = Check { rule, cluster, wrong: Vec::new() };
            let compiled = check.rule(written);
            wrong.append(&mut check.wrong);
            rules.extend(compiled);
        }
        if wrong.is_empty() { Ok(Self { rules }) } else { Err(wrong) }
    }
}

impl Check<'_> {
    fn refuse(&mut self, key: &'static str, what: impl Into<String>) {
        self.wrong.push(WrongRule { rule: self.rule.name.clone(), key, what: what.into() });
    }

    fn rule(&mut self, all: &[RuleOptions]) -> Option<Rule> {
        let rule = self.rule;
        let when = self.conditions("when", &rule.when);
        let action = match rule.does {
            Does::Generation => self.forget(Strategy::Generation, all),
            Does::Tags => self.forget(Strategy::Tags, all),
            Does::Keys => self.forget(Strategy::Keys, all),
            Does::Pattern => self.forget(Strategy::Pattern, all),
            Does::Keep => self.keep(),
            Does::Add => self.tally(),
            Does::Score => self.score(all),
        };
        let (when, action) = (when?, action?);
        let chooses_op = when.iter().any(Condition::is_about_op);
        self.wrong.is_empty().then(|| Rule {
            name: rule.name.as_str().into(),
            topic: rule.topic.as_str().into(),
            when,
            chooses_op,
            action,
            options: rule.clone(),
        })
    }

    fn conditions(&mut self, key: &'static str, written: &[String]) -> Option<Vec<Condition>> {
        let mut conditions = Vec::new();
        for one in written {
            match Condition::parse(one) {
                Ok(condition) => conditions.push(condition),
                Err(error) => self.refuse(key, format!("holds what cannot be read: {error}")),
            }
        }
        (conditions.len() == written.len()).then_some(conditions)
    }

    fn template(&mut self, key: &'static str, written: &str, purpose: Use, fans_out: bool) -> Option<Template> {
        match Template::parse(written, purpose, fans_out) {
            Ok(template) => Some(template),
            Err(why) => {
                self.refuse(key, format!("has the template \"{written}\", which {why}"));
                None
            }
        }
    }

    fn required(&mut self, key: &'static str, value: Option<&str>, purpose: Use) -> Option<Template> {
        match value {
            Some(written) => self.template(key, written, purpose, false),
            None => {
                self.refuse(key, "is required by the rule's strategy");
                None
            }
        }
    }

    fn forget(&mut self, strategy: Strategy, all: &[RuleOptions]) -> Option<Action> {
        let rule = self.rule;
        let fan_out = self.fan_out(all)?;
        let fans_out = fan_out.is_some();
        let purpose = if strategy == Strategy::Pattern { Use::Pattern } else { Use::Name };
        if rule.targets.is_empty() {
            self.refuse("targets", "names nothing to invalidate");
        }
        let targets: Option<Vec<_>> =
            rule.targets.iter().map(|target| self.template("targets", target, purpose, fans_out)).collect();
        let targets = targets?;
        if fans_out && !rule.targets.iter().any(|target| target.contains("{member}")) {
            self.refuse("targets", "uses no `{member}`, though the rule fans out");
        }
        let untagged = targets.iter().position(|target| !target.has_hash_tag());
        if let (true, Strategy::Tags, Some(at)) = (self.cluster, strategy, untagged) {
            let what = format!(
                "has the template \"{}\" without a hash tag: in a cluster the keys of one family must share a slot, so \
                 write for example `feed:{{{{{{user_id}}}}}}`",
                rule.targets[at]
            );
            self.refuse("targets", what);
        }
        Some(Action::Forget { strategy, targets, fan_out })
    }

    /// The set to fan out over; `None` inside if there is none, outside if what was written is wrong.
    #[expect(clippy::option_option, reason = "wrong, absent and there are three different things")]
    fn fan_out(&mut self, all: &[RuleOptions]) -> Option<Option<FanOut>> {
        let rule = self.rule;
        match (&rule.query, &rule.kept) {
            (None, None) => Some(None),
            (Some(_), Some(_)) => {
                self.refuse("kept", "and `query` are two sources of members: keep one of them");
                None
            }
            (Some(query), None) => {
                let used = parameters_of(query);
                if used != rule.parameters.len() {
                    let what = format!("names {} fields, and the query uses {used}", rule.parameters.len());
                    self.refuse("parameters", what);
                    return None;
                }
                let parameters: Option<Vec<_>> = rule
                    .parameters
                    .iter()
                    .map(|field| self.template("parameters", &format!("{{{field}}}"), Use::Value, false))
                    .collect();
                Some(Some(FanOut::Query { query: query.clone(), parameters: parameters? }))
            }
            (None, Some(name)) => {
                let Some(keeper) = all.iter().position(|other| other.name == *name && other.does == Does::Keep) else {
                    self.refuse(
                        "kept",
                        format!("names `{name}`, but no rule with `strategy = \"keep\"` has that name"),
                    );
                    return None;
                };
                let set = self.required("key", rule.key.as_deref(), Use::Value)?;
                Some(Some(FanOut::Kept { keeper, set }))
            }
        }
    }

    fn keep(&mut self) -> Option<Action> {
        let rule = self.rule;
        let present = self.conditions("present", &rule.present);
        let set = self.required("key", rule.key.as_deref(), Use::Value);
        let member = self.required("member", rule.member.as_deref(), Use::Value);
        Some(Action::Keep { set: set?, member: member?, present: present? })
    }

    fn score(&mut self, all: &[RuleOptions]) -> Option<Action> {
        let rule = self.rule;
        let thousandths = rule.weight * 1000.0;
        if (thousandths - thousandths.round()).abs() > 1e-6 || thousandths.round() == 0.0 || thousandths.abs() > 1e9 {
            self.refuse("weight", "must be a multiple of 0.001 other than 0, and at most a million");
        }
        let (window, bucket) = (rule.window.as_millis(), rule.bucket.as_millis());
        if bucket == 0 || window == 0 || window % bucket != 0 || window / bucket > BUCKETS_MAX {
            self.refuse("window", format!("must be a multiple of `bucket`, at most {BUCKETS_MAX} of them"));
        }
        if rule.top == 0 || rule.ttl.is_zero() {
            self.refuse(if rule.top == 0 { "top" } else { "ttl" }, "must not be 0");
        }
        let terms = |of: &RuleOptions| (of.window, of.bucket, of.top, of.ttl);
        let same_key = |other: &&RuleOptions| other.does == Does::Score && other.key == rule.key;
        if let Some(other) = all.iter().filter(same_key).find(|other| terms(other) != terms(rule)) {
            let what = format!("is also the rule `{}`'s, which has another window, bucket, top or ttl", other.name);
            self.refuse("key", what);
        }
        self.tally()
    }

    fn tally(&mut self) -> Option<Action> {
        let rule = self.rule;
        let key = self.required("key", rule.key.as_deref(), Use::Name);
        let member = self.required("member", rule.member.as_deref(), Use::Value);
        Some(Action::Tally { key: key?, member: member? })
    }
}

/// How many parameters a query uses: its greatest `$n`.
fn parameters_of(query: &str) -> usize {
    let numbers = query.split('$').skip(1).map(|rest| {
        let digits = rest.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(rest.len());
        rest[..digits].parse().unwrap_or(0)
    });
    numbers.max().unwrap_or(0)
}
