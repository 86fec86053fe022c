// Package senders reads what monitors and status pages send, each in its own words,
// as reports of package lifecycle. It is pure: the same body gives the same reports.
//
// Promise: what is refused is refused with the field at fault, as an
// [*incident.Invalid], and none of the body repeated. Labels, hosts and links of a
// sender stay here, but for those that the operator's mapping names.
package senders
