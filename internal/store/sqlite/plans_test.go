package sqlite

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tocsin/tocsin/incident"
	"github.com/tocsin/tocsin/internal/sqlitedb"
	"github.com/tocsin/tocsin/internal/store"
)

// TestQueryPlans proves the indexes: every hot query runs as said here, and none
// sorts, or scans a table that grows. (SQLite's keyset on an audience uses two of
// the three columns; within them stands one stripe of one provider.)
func TestQueryPlans(t *testing.T) {
	incidentsOf := func(page string, status incident.Status) string {
		q, _ := listIncidents(page, status)
		return q
	}
	chosen := func(page, incidentID string) store.AuditFilter {
		return store.AuditFilter{Page: page, IncidentID: incidentID, From: time.Unix(1, 0), Until: time.Unix(2, 0)}
	}
	auditOf := func(page, incidentID string) string { q, _ := listAudit(chosen(page, incidentID)); return q }
	publishedOf := func(page, incidentID string) string { q, _ := listPublished(chosen(page, incidentID)); return q }
	s := openFixture(t, t.TempDir(), nil).Store.(*Store)
	for _, c := range []struct {
		name, query string
		args        int
		want        []string
	}{
		{"audience", subscribed, 10, []string{
			"SEARCH t USING INDEX targets_audience (incident=? AND page=? AND test=? AND (stripe,provider)>(?,?))",
			"CORRELATED SCALAR SUBQUERY 2", "SEARCH c USING PRIMARY KEY (target=?)", "LIST SUBQUERY 1", "SCAN json_each VIRTUAL TABLE INDEX 1:",
			"CREATE BLOOM FILTER"}},
		{"audience counted", counted, 6, []string{
			"SEARCH t USING INDEX targets_audience (incident=? AND page=? AND test=?)",
			"CORRELATED SCALAR SUBQUERY 2", "SEARCH c USING PRIMARY KEY (target=?)", "LIST SUBQUERY 1", "SCAN json_each VIRTUAL TABLE INDEX 1:",
			"CREATE BLOOM FILTER"}},
		{"inline audience", inlined, 8, []string{
			"SEARCH t USING INDEX targets_audience (incident=? AND page=? AND test=? AND (stripe,provider)>(?,?))"}},
		{"changed targets", changedTargets, 1, []string{"SEARCH targets USING COVERING INDEX targets_revision (revision>?)"}},
		{"target now", targetNow, 1, []string{"SEARCH targets USING INTEGER PRIMARY KEY (rowid=?)"}},
		{"verify", rowIsOurs, 4, []string{
			"SEARCH deliveries USING INTEGER PRIMARY KEY (rowid=?)", "SCALAR SUBQUERY 1",
			"SEARCH updates USING COVERING INDEX updates_sequence (incident=? AND sequence=?)"}},
		{"newer", newerRow, 3, []string{
			"SEARCH u USING COVERING INDEX updates_sequence (incident=? AND sequence>?)", "SEARCH d USING INTEGER PRIMARY KEY (rowid=?)"}},
		{"blocked", olderOpen, 3, []string{
			"SEARCH u USING COVERING INDEX updates_sequence (incident=? AND sequence<?)", "SEARCH d USING INTEGER PRIMARY KEY (rowid=?)"}},
		{"settle delivered", settleDelivered, 6, []string{"SEARCH deliveries USING INTEGER PRIMARY KEY (rowid=?)"}},
		{"settle tried", settleTried, 10, []string{"SEARCH deliveries USING INTEGER PRIMARY KEY (rowid=?)"}},
		{"settle untried", settleUntried, 8, []string{"SEARCH deliveries USING INTEGER PRIMARY KEY (rowid=?)"}},
		{"due", due, 2, []string{
			"CO-ROUTINE d", "SEARCH deliveries USING INDEX deliveries_waiting (due_at<?)", "SCAN d", "SEARCH u USING INTEGER PRIMARY KEY (rowid=?)",
			"SEARCH i USING INTEGER PRIMARY KEY (rowid=?)", "SEARCH t USING INTEGER PRIMARY KEY (rowid=?) LEFT-JOIN",
			"CORRELATED SCALAR SUBQUERY 1", "SEARCH v USING COVERING INDEX updates_sequence (incident=? AND sequence>?)",
			"SEARCH n USING INTEGER PRIMARY KEY (rowid=?)", "CORRELATED SCALAR SUBQUERY 2",
			"SEARCH v USING COVERING INDEX updates_sequence (incident=? AND sequence<?)", "SEARCH o USING INTEGER PRIMARY KEY (rowid=?)"}},
		{"backlog", backlog, 1, []string{"SCAN deliveries USING INDEX deliveries_waiting"}},
		{"oldest due", backlogDue, 1, []string{"SEARCH deliveries USING INDEX deliveries_waiting (due_at<?)"}},
		{"lease over", lapsed[0], 2, []string{"SEARCH batches USING INDEX batches_claimed (lease_until<?)"}},
		{"unpublished", lapsed[1], 2, []string{"SEARCH batches USING INDEX batches_unpublished (written_at<?)"}},
		{"unclaimed", lapsed[2], 2, []string{"SEARCH batches USING INDEX batches_unclaimed (published_at>? AND published_at<?)"}},
		{"expiring updates", expiring, 1, []string{"SEARCH updates USING INDEX updates_expiring (expires_at<?)"}},
		{"updates of an incident up to one", upToUpdate, 2, []string{"SEARCH updates USING COVERING INDEX updates_sequence (incident=? AND sequence<?)"}},
		{"open rows of an update", openOf, 3, []string{
			"SEARCH d USING INTEGER PRIMARY KEY (rowid>? AND rowid<?)",
			"CORRELATED SCALAR SUBQUERY 1", "SEARCH t USING INTEGER PRIMARY KEY (rowid=?)"}},
		{"unplanned", unplanned, 1, []string{
			"SCAN u USING INDEX updates_planning", "SEARCH i USING INTEGER PRIMARY KEY (rowid=?)"}},
		{"state of an incident", selectIncidentState, 2, []string{
			"SEARCH i USING INDEX incidents_name (page=? AND incident_id=?)", "SEARCH u USING INDEX updates_sequence (incident=? AND sequence=?)"}},
		{"forget taken", forgetTaken, 2, []string{
			"SEARCH taken USING PRIMARY KEY (at=? AND source=? AND print=?)", "LIST SUBQUERY 2", "SEARCH taken USING PRIMARY KEY (at<?)"}},
		{"timeline", timeline, 3, []string{
			"SEARCH updates USING INDEX updates_sequence (incident=? AND sequence<?)",
			"SCALAR SUBQUERY 1", "SEARCH updates USING INDEX updates_sequence (incident=? AND sequence=?)",
			"SCALAR SUBQUERY 2", "SEARCH updates USING INDEX updates_sequence (incident=? AND sequence=?)"}},
		{"target by external id", selectTarget + targetByExternal, 2, []string{"SEARCH targets USING INDEX targets_external (page=? AND external_id=?)"}},
		{"inline target", selectTarget + targetInline, 3, []string{"SEARCH targets USING INDEX targets_inline (incident=? AND channel=? AND address=?)"}},
		{"listed targets", selectTarget + targetsListed, 2, []string{"SEARCH targets USING INTEGER PRIMARY KEY (rowid>?)"}},
		{"incidents", incidentsOf("", ""), 2, []string{"SEARCH incidents USING INTEGER PRIMARY KEY (rowid<?)"}},
		{"incidents of a page", incidentsOf("default", ""), 3, []string{"SEARCH incidents USING INDEX incidents_page (page=? AND rowid<?)"}},
		{"incidents of a status", incidentsOf("", "resolved"), 3, []string{"SEARCH incidents USING INDEX incidents_status (status=? AND rowid<?)"}},
		{"incidents of both", incidentsOf("default", "resolved"), 4, []string{"SEARCH incidents USING INDEX incidents_page_status (page=? AND status=? AND rowid<?)"}},
		{"updates with rows", updatesIn, 2, []string{"SEARCH updates USING COVERING INDEX updates_sequence (incident=? AND sequence>?)"}},
		{"deliveries", deliveriesOf, 4, []string{
			"SEARCH d USING INTEGER PRIMARY KEY (rowid>? AND rowid<?)", "SEARCH t USING INTEGER PRIMARY KEY (rowid=?) LEFT-JOIN"}},
		{"retrying deliveries", retryingOf, 4, []string{
			"SEARCH d USING INTEGER PRIMARY KEY (rowid>? AND rowid<?)", "SEARCH t USING INTEGER PRIMARY KEY (rowid=?) LEFT-JOIN"}},
		{"untried deliveries", untriedOf, 4, []string{
			"SEARCH d USING INTEGER PRIMARY KEY (rowid>? AND rowid<?)", "SEARCH t USING INTEGER PRIMARY KEY (rowid=?) LEFT-JOIN"}},
		{"who has not heard", unheardOf, 4, []string{
			"SEARCH d USING INTEGER PRIMARY KEY (rowid>? AND rowid<?)", "CORRELATED SCALAR SUBQUERY 1",
			"SEARCH o USING INTEGER PRIMARY KEY (rowid=?)", "SEARCH v USING COVERING INDEX updates_sequence (incident=? AND sequence>?)",
			"SEARCH n USING INTEGER PRIMARY KEY (rowid=?)", "SEARCH t USING INTEGER PRIMARY KEY (rowid=?) LEFT-JOIN"}},
		{"incident by name", incidentNamed, 2, []string{"SEARCH incidents USING INDEX incidents_name (page=? AND incident_id=?)"}},
		{"newest update", newestUpdate, 1, []string{
			"SEARCH i USING INTEGER PRIMARY KEY (rowid=?)", "SEARCH u USING INDEX updates_sequence (incident=? AND sequence=?)"}},
		{"resend", resendByKey, 1, []string{"SEARCH resends USING INTEGER PRIMARY KEY (rowid=?)"}},
		{"resend by name", resendByName, 2, []string{"SEARCH resends USING INDEX resends_name (incident=? AND name=?)"}},
		{"repeated resend", resendRepeated, 5, []string{"SEARCH resends USING INDEX resends_name (incident=? AND name=?)"}},
		{"resends of an incident", resendsOf, 2, []string{"SEARCH resends USING INDEX resends_incident (incident=?)"}},
		{"unfinished resends", unfinishedResends, 1, []string{"SCAN resends USING INDEX resends_unfinished"}},
		{"chosen by outcome", chosenByOutcome, 4, []string{"SEARCH deliveries USING INTEGER PRIMARY KEY (rowid>? AND rowid<?)"}},
		{"chosen unheard", chosenUnheard, 3, []string{"SEARCH deliveries USING INTEGER PRIMARY KEY (rowid>? AND rowid<?)"}},
		{"outcome of a delivery", outcomeOf, 1, []string{"SEARCH deliveries USING INTEGER PRIMARY KEY (rowid=?)"}},
		{"sent again", sendAgain, 4, []string{"SEARCH deliveries USING INTEGER PRIMARY KEY (rowid=?)"}},
		{"looked anew", lookAnew, 2, []string{"SEARCH callbacks USING PRIMARY KEY (incident=? AND sequence=?)"}},
		{"progress", progress, 1, []string{
			"SEARCH u USING COVERING INDEX updates_sequence (incident=? AND sequence>?)",
			"SEARCH d USING INTEGER PRIMARY KEY (rowid>? AND rowid<?)", "SEARCH t USING INTEGER PRIMARY KEY (rowid=?) LEFT-JOIN",
			"USE TEMP B-TREE FOR GROUP BY"}},
		{"feeds", selectTarget + targetsFeeds, 0, []string{"SCAN targets USING INDEX targets_feeds"}},
		{"feed", selectTarget + targetFeed, 2, []string{"SEARCH targets USING INDEX targets_feeds (page=? AND address=?)"}},
		{"updates of a page", pageUpdates, 2, []string{"SEARCH u USING INDEX updates_page (page=?)", "SEARCH i USING INTEGER PRIMARY KEY (rowid=?)"}},
		{"update of a feed", feedUpdate, 1, []string{"SEARCH updates USING INTEGER PRIMARY KEY (rowid=?)"}},
		{"who opts out", subscribersAt, 2, []string{"SEARCH targets USING INDEX targets_address (channel=? AND address=?)"}},
		{"suppressed", suppressedAt, 3, []string{"SEARCH suppressions USING PRIMARY KEY (channel=? AND address=? AND page=?)"}},
		{"message of a receipt", handleOf, 3, []string{"SEARCH handles USING PRIMARY KEY (day=? AND provider=? AND handle=?)"}},
		{"day of a receipt", handleDay, 1, []string{"SEARCH handles USING PRIMARY KEY (day<?)"}},
		{"delivered by receipt", handleDelivered, 3, []string{"SEARCH handles USING PRIMARY KEY (day=? AND provider=? AND handle=?)"}},
		{"receipt", writeReceipt, 4, []string{
			"SEARCH deliveries USING INTEGER PRIMARY KEY (rowid=?)", "SCALAR SUBQUERY 1",
			"SEARCH updates USING COVERING INDEX updates_sequence (incident=? AND sequence=?)"}},
		{"updates with open rows", unsettled, 2, []string{
			"SEARCH u USING INDEX updates_sequence (incident=? AND sequence<?)", "CORRELATED SCALAR SUBQUERY 1",
			"SEARCH b USING COVERING INDEX batches_update (incident=? AND sequence=?)"}},
		{"id of an update", findUpdate, 2, []string{"SEARCH updates USING COVERING INDEX updates_sequence (incident=? AND sequence=?)"}},
		{"a row that waits", noteWaiting, 1, []string{"SEARCH updates USING INTEGER PRIMARY KEY (rowid=?)"}},
		{"older rows", older, 3, []string{
			"SCAN t VIRTUAL TABLE INDEX 1:", "SCAN u VIRTUAL TABLE INDEX 1:", "SEARCH d USING INTEGER PRIMARY KEY (rowid=?)"}},
		{"told so far", toldSoFar, 4, []string{
			"SEARCH u USING COVERING INDEX updates_sequence (incident=? AND sequence<?)", "SEARCH d USING INTEGER PRIMARY KEY (rowid=?)",
			"CORRELATED SCALAR SUBQUERY 1", "SEARCH b USING INTEGER PRIMARY KEY (rowid=?)"}},
		{"counted before", takenBefore, 2, []string{"SEARCH deliveries USING INTEGER PRIMARY KEY (rowid=?)"}},
		{"told of all so far", toldOfAll, 2, []string{
			"SEARCH m USING PRIMARY KEY (target=?)", "SEARCH u USING COVERING INDEX updates_sequence (incident=? AND sequence=?) LEFT-JOIN",
			"SEARCH d USING INTEGER PRIMARY KEY (rowid=?) LEFT-JOIN",
			"CORRELATED SCALAR SUBQUERY 1", "SEARCH b USING INTEGER PRIMARY KEY (rowid=?)"}},
		{"forgotten message", dropMessage, 3, []string{"SEARCH messages USING PRIMARY KEY (target=? AND incident=? AND sequence=?)"}},
		{"counted messages", dropCounts, 2, []string{"SEARCH counted USING PRIMARY KEY (account=? AND hour<?)"}},
		{"status of an update", statusOf, 2, []string{"SEARCH updates USING INDEX updates_sequence (incident=? AND sequence=?)"}},
		{"old handles", dropHandles, 2, []string{
			"SEARCH handles USING PRIMARY KEY (day=? AND provider=? AND handle=?)", "LIST SUBQUERY 2", "SEARCH handles USING PRIMARY KEY (day<?)"}},
		{"targets elsewhere", elsewhere, 5, []string{"SEARCH targets USING INTEGER PRIMARY KEY (rowid>?)"}},
		{"targets moved", moveTargets, 5, []string{"SEARCH targets USING INTEGER PRIMARY KEY (rowid>? AND rowid<?)"}},
		{"batches nobody serves", batchesBetween, 3, []string{"SEARCH batches USING INDEX batches_ready (grp>? AND grp<?)"}},
		{"rows without a provider", waitForProvider, 5, []string{
			"SEARCH d USING INDEX deliveries_waiting (due_at>?)", "CORRELATED SCALAR SUBQUERY 1", "SEARCH t USING INTEGER PRIMARY KEY (rowid=?)"}},
		{"targets without a provider", unserved, 1, []string{"SEARCH targets USING INDEX targets_address (channel=?)"}},
		{"updates to complete", incomplete, 3, []string{
			"SEARCH c USING INDEX callbacks_incomplete ((incident,sequence)>(?,?))", "SEARCH u USING INDEX updates_sequence (incident=? AND sequence=?)"}},
		{"first open row", firstOpen, 2, []string{"SEARCH deliveries USING INTEGER PRIMARY KEY (rowid>? AND rowid<?)"}},
		{"outcomes of an update", outcomesOf, 2, []string{
			"SEARCH d USING INTEGER PRIMARY KEY (rowid>? AND rowid<?)", "SEARCH t USING INTEGER PRIMARY KEY (rowid=?) LEFT-JOIN",
			"USE TEMP B-TREE FOR GROUP BY"}},
		{"where a look ended", noteLooked, 4, []string{"SEARCH callbacks USING PRIMARY KEY (incident=? AND sequence=?)"}},
		{"completed", noteComplete, 6, []string{"SEARCH callbacks USING PRIMARY KEY (incident=? AND sequence=?)"}},
		{"due callbacks", dueCallbacks, 2, []string{
			"SEARCH c USING INDEX callbacks_due (due_at<?)", "SEARCH u USING INDEX updates_sequence (incident=? AND sequence=?)",
			"SEARCH i USING INTEGER PRIMARY KEY (rowid=?)"}},
		{"settled callback", settleCallback, 7, []string{"SEARCH callbacks USING PRIMARY KEY (incident=? AND sequence=?)"}},
		{"callbacks of an incident", callbacksOf, 1, []string{"SEARCH callbacks USING PRIMARY KEY (incident=?)"}},
		{"newest event", latestEvent, 2, []string{
			"SEARCH i USING INDEX incidents_name (page=? AND incident_id=?)", "SEARCH u USING INDEX updates_sequence (incident=? AND sequence=?)",
			"CORRELATED SCALAR SUBQUERY 1", "SEARCH o USING INDEX updates_sequence (incident=? AND sequence>?)"}},
		{"range of the audit log", rangeOfAudit, 0, []string{"SCAN CONSTANT ROW", "SCALAR SUBQUERY 1", "SEARCH audit", "SCALAR SUBQUERY 2", "SEARCH audit"}},
		{"audit log", auditOf("", ""), 5, []string{"SEARCH audit USING INTEGER PRIMARY KEY (rowid>? AND rowid<?)"}},
		{"audit log of a page", auditOf("default", ""), 6, []string{"SEARCH audit USING INTEGER PRIMARY KEY (rowid>? AND rowid<?)"}},
		{"audit log of a name", auditOf("", "INC-1"), 6, []string{"SEARCH audit USING INTEGER PRIMARY KEY (rowid>? AND rowid<?)"}},
		{"audit log of an incident", auditOf("default", "INC-1"), 7, []string{"SEARCH audit USING INDEX audit_incident (page=? AND incident_id=? AND rowid>? AND rowid<?)"}},
		{"range of updates", rangeOfUpdates, 0, []string{"SCAN CONSTANT ROW", "SCALAR SUBQUERY 1", "SEARCH updates", "SCALAR SUBQUERY 2", "SEARCH updates"}},
		{"published", publishedOf("", ""), 5, []string{
			"SEARCH u USING INTEGER PRIMARY KEY (rowid>? AND rowid<?)", "CORRELATED SCALAR SUBQUERY 1", "SEARCH incidents USING INTEGER PRIMARY KEY (rowid=?)"}},
		{"published on a page", publishedOf("default", ""), 6, []string{
			"SEARCH u USING INTEGER PRIMARY KEY (rowid>? AND rowid<?)", "CORRELATED SCALAR SUBQUERY 1", "SEARCH incidents USING INTEGER PRIMARY KEY (rowid=?)"}},
		{"published of an incident", publishedOf("default", "INC-1"), 7, []string{
			"SEARCH u USING INDEX updates_name (incident=?)", "SCALAR SUBQUERY 2", "SEARCH incidents USING COVERING INDEX incidents_name (page=? AND incident_id=?)",
			"CORRELATED SCALAR SUBQUERY 1", "SEARCH incidents USING INTEGER PRIMARY KEY (rowid=?)", "USE TEMP B-TREE FOR ORDER BY"}},
		{"published of a name", publishedOf("", "INC-1"), 6, []string{
			"SEARCH u USING INDEX updates_name (incident=?)", "LIST SUBQUERY 5", "MATERIALIZE pages", "SETUP", "SEARCH incidents USING COVERING INDEX incidents_page",
			"RECURSIVE STEP", "SCAN pages", "CORRELATED SCALAR SUBQUERY 3", "SEARCH incidents USING COVERING INDEX incidents_page (page>?)", "SCAN pages",
			"SEARCH i USING COVERING INDEX incidents_name (page=? AND incident_id=?)",
			"CORRELATED SCALAR SUBQUERY 1", "SEARCH incidents USING INTEGER PRIMARY KEY (rowid=?)", "USE TEMP B-TREE FOR ORDER BY"}},
		{"known update", knownUpdate, 3, []string{
			"SEARCH i USING COVERING INDEX incidents_name (page=? AND incident_id=?)",
			"SEARCH u USING COVERING INDEX updates_name (incident=? AND update_id=?)"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := explain(t, s, c.query, c.args); !slices.Equal(got, c.want) {
				t.Errorf("runs as\n\t%s\nwant\n\t%s", strings.Join(got, "\n\t"), strings.Join(c.want, "\n\t"))
			}
		})
	}
}

func explain(t *testing.T, s *Store, query string, args int) []string {
	t.Helper()
	var plan []string
	err := s.read(t.Context(), func(tx *sqlitedb.Tx) error {
		rows := tx.Query("EXPLAIN QUERY PLAN "+query, make([]any, args)...)
		for rows.Next() {
			plan = append(plan, rows.Text(3))
		}
		return rows.Err()
	})
	if err != nil {
		t.Fatal(err)
	}
	return plan
}
