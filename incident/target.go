package incident

import (
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strconv"
)

// maxTargetBytes is the largest target taken, in bytes of JSON.
const maxTargetBytes = 256 << 10

// Target is one address on one channel, with the filter that says which updates
// it is told of. The limits in brackets are checked by [DecodeTarget] and
// [Target.Validate]. Its JSON is "Target" of the HTTP contract.
type Target struct {
	// ID is the key in the store, in JSON a decimal string; 0 if not stored.
	ID int64 `json:"id,string,omitempty"`
	// ExternalID is the owner's key [255 bytes, printable].
	ExternalID string `json:"external_id"`
	// Channel is one of the Channel constants; required.
	Channel string `json:"channel"`
	// Address is required: an absolute http or https URL [2 KiB] for webhook and
	// websub (whether it may be dialled is not decided here), a mailbox for smtp,
	// an E.164 number for smpp, a feed name for rss.
	Address string `json:"address"`
	// Page is "default" if absent.
	Page string `json:"page"`
	// Components the target wants to hear of; empty = all [1,000].
	Components []string `json:"components"`
	// MinImpact is the least impact the target wants to hear of; none if absent.
	MinImpact Impact `json:"min_impact"`
	// Visibility private lets the target see private updates too; public if absent.
	Visibility Visibility `json:"visibility"`
	// Locale chooses the translation (BCP 47); "en" if absent.
	Locale string `json:"locale"`
	// EveryUpdate asks for each update in order, instead of the newest only.
	EveryUpdate bool `json:"every_update"`
	// State is active if absent.
	State TargetState `json:"state"`
	// Test targets get test events only, and no others do.
	Test bool `json:"test"`
	// Secrets sign what is sent (Standard Webhooks): "whsec_" and the base64 of 24
	// to 64 bytes. They are read from JSON and never written to it [5].
	Secrets []string `json:"-"`
	// Format is the shape of the payload; "tocsin" if absent. Only mail has others,
	// the names of its templates [1 to 64 of a-z 0-9 . _ -].
	Format string `json:"format"`
}

// newTarget returns a target with every default.
func newTarget() Target {
	return Target{Page: defaultPage, Components: []string{}, MinImpact: ImpactNone, Visibility: Public,
		Locale: defaultLocale, State: StateActive, Format: defaultFormat}
}

// DecodeTarget reads one target from JSON with the strictness of [Decode],
// supplies defaults, normalises and validates it. Unknown names are refused. Every
// error is an [*Invalid].
func DecodeTarget(data []byte) (*Target, error) { return newTarget().Patch(data) }

// Patch returns t changed by the fields that data, a JSON object, has; absent and
// null ones stay as they are, secrets included; the id, once set, stays in any case. The result is normalised and
// valid, t itself is not touched. Every error is an [*Invalid].
func (t Target) Patch(data []byte) (*Target, error) {
	if len(data) > maxTargetBytes {
		return nil, &Invalid{"target", "must be at most 256 KiB"}
	}
	o, bad := readObject(data, "target")
	if bad != nil {
		return nil, bad
	}
	old := t.ID
	t.decodeFields(o)
	if old != 0 && t.ID != old {
		o.failAt("id", "must stay as it is")
	}
	if o.fault != nil {
		return nil, o.fault
	}
	if bad := t.normalise(); bad != nil {
		return nil, bad
	}
	return &t, nil
}

func (t *Target) decodeFields(o *object) {
	var id string
	o.text("id", &id)
	if id != "" {
		n, err := strconv.ParseInt(id, 10, 64)
		if err != nil || n <= 0 || strconv.FormatInt(n, 10) != id {
			o.failAt("id", "must be a positive whole number as a string")
		}
		t.ID = n
	}
	o.text("external_id", &t.ExternalID)
	word(o, "channel", &t.Channel, channels)
	o.text("address", &t.Address)
	o.text("page", &t.Page)
	o.texts("components", &t.Components)
	word(o, "min_impact", &t.MinImpact, impacts)
	word(o, "visibility", &t.Visibility, visibilities)
	o.text("locale", &t.Locale)
	o.flag("every_update", &t.EveryUpdate)
	word(o, "state", &t.State, states)
	o.flag("test", &t.Test)
	o.texts("secrets", &t.Secrets)
	o.text("format", &t.Format)
	if len(o.fields) > 0 {
		unknown := slices.Min(slices.Collect(maps.Keys(o.fields)))
		o.failAt(named(unknown), "is not a field of a target; remove it or check its spelling")
	}
}

// Validate normalises t in place and checks it as [DecodeTarget] does: empty
// fields get their defaults. The error is an [*Invalid].
func (t *Target) Validate() error {
	if bad := t.normalise(); bad != nil {
		return bad
	}
	return nil
}

func (t *Target) normalise() *Invalid {
	if t.ID < 0 {
		return &Invalid{"id", "must not be negative"}
	}
	t.applyDefaults()
	var bad *Invalid
	var reason string
	if t.ExternalID, bad = cleanID("external_id", t.ExternalID, maxExternalID); bad != nil {
		return bad
	}
	if t.Page, bad = page(t.Page); bad != nil {
		return bad
	}
	if t.Components, bad = componentIDs("components", t.Components); bad != nil {
		return bad
	}
	if t.Locale, reason = localeTag(t.Locale); reason != "" {
		return &Invalid{"locale", reason}
	}
	if t.Format, reason = token(t.Format, false); reason != "" {
		return &Invalid{"format", reason}
	}
	if t.Format != defaultFormat && t.Channel != ChannelSMTP {
		return &Invalid{"format", fmt.Sprintf("must be %q: only mail has others, by templates", defaultFormat)}
	}
	for _, bad := range []*Invalid{
		oneOf("channel", t.Channel, channels), oneOf("min_impact", t.MinImpact, impacts),
		oneOf("visibility", t.Visibility, visibilities), oneOf("state", t.State, states),
	} {
		if bad != nil {
			return bad
		}
	}
	if t.Address == "" {
		return &Invalid{"address", required}
	}
	if t.Address, reason = address(t.Channel, t.Address); reason != "" {
		return &Invalid{"address", reason}
	}
	return t.normaliseSecrets()
}

func (t *Target) applyDefaults() {
	d := newTarget()
	if t.MinImpact == "" {
		t.MinImpact = d.MinImpact
	}
	if t.Visibility == "" {
		t.Visibility = d.Visibility
	}
	if t.Locale == "" {
		t.Locale = d.Locale
	}
	if t.State == "" {
		t.State = d.State
	}
	if t.Format == "" {
		t.Format = d.Format
	}
}

func (t *Target) normaliseSecrets() *Invalid {
	if len(t.Secrets) > maxSecrets {
		return tooMany("secrets", maxSecrets)
	}
	for i, s := range t.Secrets {
		if !ValidSecret(s) {
			return &Invalid{at("secrets", i), "must be whsec_ and the base64 of 24 to 64 random bytes"}
		}
	}
	if len(t.Secrets) == 0 {
		t.Secrets = nil
	}
	return nil
}

// Matches reports whether an update is for t: t is active, of the same page, test
// for test events and only for those, private if the update is, wants an impact
// no higher than that of the update, and one of its components. Empty components
// mean all, on either side. It does not allocate.
func (t *Target) Matches(page string, components []string, impact Impact, vis Visibility, test bool) bool {
	if t.State != StateActive || t.Page != page || t.Test != test ||
		impact.Rank() < t.MinImpact.Rank() || vis != Public && t.Visibility != Private {
		return false
	}
	if len(components) == 0 || len(t.Components) == 0 {
		return true
	}
	for _, c := range t.Components {
		if slices.Contains(components, c) {
			return true
		}
	}
	return false
}

// MarshalJSON writes t without its secrets.
func (t Target) MarshalJSON() ([]byte, error) { return compactJSON(t.wire(false)) }

// UnmarshalJSON is [DecodeTarget].
func (t *Target) UnmarshalJSON(data []byte) error {
	decoded, err := DecodeTarget(data)
	if err != nil {
		return err
	}
	*t = *decoded
	return nil
}

// String names the target without its address or secrets.
func (t Target) String() string { return fmt.Sprintf("%s target %d", t.Channel, t.ID) }

// GoString is String, so that no verb of fmt shows an address or a secret.
func (t Target) GoString() string { return t.String() }

// LogValue keeps addresses and secrets out of logs.
func (t Target) LogValue() slog.Value {
	return slog.GroupValue(slog.Int64("id", t.ID), slog.String("channel", t.Channel))
}

type plainTarget Target

// wireTarget is a Target as JSON. The outer Secrets hide the inner ones.
type wireTarget struct {
	plainTarget
	Secrets []string `json:"secrets,omitempty"`
}

func (t Target) wire(secrets bool) wireTarget {
	w := wireTarget{plainTarget: plainTarget(t)}
	if w.Components == nil {
		w.Components = []string{}
	}
	if secrets {
		w.Secrets = t.Secrets
	}
	return w
}

func wireTargets(targets []Target, secrets bool) []wireTarget {
	out := make([]wireTarget, len(targets))
	for i, t := range targets {
		out[i] = t.wire(secrets)
	}
	return out
}
