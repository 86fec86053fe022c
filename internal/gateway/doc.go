// Package gateway is the HTTP side of the engine: intake, control API, metrics,
// probes and the live page, on the control listener.
//
// Promise: a 202 for an event means that it is durable in the intake queue, and for
// what a monitor says that all it leads to is durable in the store, but for results of
// probes, which the store has soon after; any other answer means that it may be sent
// again. Every answer is bounded in memory
// and time whatever the client does, but the live page's stream, which lasts as long
// as its viewer keeps up. Answers and logs hold no secrets of targets,
// and errors are problem+json (RFC 9457) that say what to do, with the field at
// fault where there is one.
//
// Words: the intake takes events; a receipt is the answer to one; an address is
// checked when a target is registered, long before it is dialled; a viewer follows
// the live page's stream.
//
// Routes:
//
//	POST   /v1/incidents                      an event or CloudEvents (up to 1 MiB) → 202 and a receipt, 207 for a batch
//	POST   /v1/alerts, /v1/update             a webhook of Alertmanager v4 or Grafana (up to 10 MiB) → 202 and receipts
//	POST   /v2/enqueue                        an event of PagerDuty's Events API v2 (up to 512 KiB) → 202, as PagerDuty answers
//	POST   /v1/sources/{name}                 what that source sends (up to 1 MiB) → 202 and receipts
//	POST   /v1/probes                         results of probes (up to 1 MiB) → 202 and how many counted
//	GET    /v1/probes                         the health of every service
//	DELETE /v1/probes/{service}               ends the watch over a service, and its incident → 204
//	GET    /v1/incidents                      ?page= &status= &limit= &cursor=, newest first
//	GET    /v1/incidents/{id}                 ?page=; updates and their progress
//	GET    /v1/incidents/{id}/deliveries      ?page= &outcome= &target= &sequence= &limit= &cursor=, the ledger
//	POST   /v1/incidents/{id}/stop            ?page=; ends the fan-out of its updates so far → 202
//	GET    /v1/incidents/{id}/pending         ?page=; what was ordered by hand and waits for its time
//	POST   /v1/orders                         an order of an operator (up to 512 KiB) → 202 and a receipt
//	GET    /v1/audit                          ?page= &incident= &from= &until= &cursor=, application/x-ndjson, streamed
//	POST   /v1/targets                        a target → 201, or 200 if its external_id was known
//	GET    /v1/targets                        ?limit= &cursor=
//	GET    /v1/targets/{id}
//	PATCH  /v1/targets/{id}                   the fields to change
//	DELETE /v1/targets/{id}                   → 204
//	POST   /v1/targets/import                 application/x-ndjson or text/csv, streamed → 200 and what was refused
//	POST   /v1/targets/{id}/test              a test message to this target alone → 202 and a receipt
//	GET    /v1/audience                       ?page= &components= &impact= &visibility= &test=, who would be told
//	GET    /v1/providers                      limits and state of providers and pools; GET /v1/queues their depths
//	POST   /v1/providers/{name}/pause, resume a webhook's name is host:port; /v1/pause and /v1/resume are for all
//	GET    /v1/live                           what the engine does, once a second (text/event-stream); GET / the page that shows it
//	GET    /metrics, /healthz, /readyz, /openapi.json
//
// Lists answer {"items":[…],"next":…}, where next is the cursor of the following
// page or null. Without a page, the page "default" is meant where one incident is
// named, and every page where incidents are listed. Statuses besides those above:
// 400, 401, 403, 404, 405, 408, 409, 413, 415, 500; 503 with Retry-After where trying
// again helps; 507 where the store is full.
package gateway
