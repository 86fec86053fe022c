// Package incident is the public event model of Tocsin: what a producer
// publishes, whom it is for, and the names that stay the same over restarts.
//
// An incident is what is wrong, keyed by its incident id within a page. An
// update is one change of it; an [Event] is the message that carries one update
// in. A [Target] is one address on one channel with its subscription filter.
//
// Promises:
//   - What [Decode] or [DecodeTarget] returns without an error is valid,
//     bounded, normalised and free of characters that could break out of a
//     header line, a log line or a feed. Nothing later has to check again.
//   - Every refusal is an [*Invalid] that names the field. It never repeats a
//     value, so it is safe to log and to send back.
//   - Encoding and decoding again changes nothing: [Encode] and [Decode] are
//     inverse, and [Event.ContentHash] stays the same.
//   - [DeliveryID], [CallbackID] and [ThreadID] are pure functions. Another worker, or this
//     one after a crash, derives the same names, which is what keeps idempotency
//     keys and threads together without shared memory.
//
// Characters nobody can see are dealt with as follows. Identifiers (incident,
// update, component, page, external id) must be printable; anything else is
// refused, because stripping could make two names one. Texts (title, message,
// link titles, translations, public details) lose bidirectional controls, zero-width characters
// and noncharacters silently, because a notice pasted from a chat tool has to go
// out all the same; zero-width joiners stay where scripts and emoji need them,
// after a non-ASCII letter, mark or symbol. Control characters are refused
// everywhere, but for line breaks and tabs in messages.
package incident
