package senders

import (
	"cmp"
	"errors"
	"io"
	"strings"
	"text/template"
	"time"

	"github.com/tocsin/tocsin/incident"
)

// AlertMapping says what of an alert becomes what of an incident. Lists of labels are
// looked through in order; the first that an alert has counts.
type AlertMapping struct {
	// Page, Component, Severity and Visibility are labels.
	Page, Component, Severity, Visibility []string
	// Impact maps values of the severity, in lower case, to impacts; Otherwise is
	// for all others.
	Impact    map[string]incident.Impact
	Otherwise incident.Impact
	// Public are labels whose values everyone may know, by the names that they are
	// told by.
	Public map[string][]string
	// Title and Message are templates of package text/template over an [AlertText];
	// where one is "", or gives nothing, it is the annotation summary (or else the
	// alert's name), and the annotation description.
	Title, Message string
	// Prefix begins the incident_id.
	Prefix string
}

// DefaultAlertMapping is the one that holds where nothing else is said.
func DefaultAlertMapping() AlertMapping {
	return AlertMapping{
		Page: []string{"page"}, Component: []string{"component", "service"}, Severity: []string{"severity"},
		Visibility: []string{"tocsin"},
		Impact: map[string]incident.Impact{
			"critical": incident.ImpactCritical, "error": incident.ImpactMajor, "major": incident.ImpactMajor,
			"warning": incident.ImpactMinor, "info": incident.ImpactNone, "none": incident.ImpactNone,
		},
		Otherwise: incident.ImpactMinor, Prefix: "am-",
	}
}

// AlertText is what templates have of an alert.
type AlertText struct {
	Status            string // firing or resolved
	Labels            map[string]string
	Annotations       map[string]string
	GroupLabels       map[string]string
	CommonLabels      map[string]string
	CommonAnnotations map[string]string
	StartsAt, EndsAt  time.Time
}

// maxText is how much of a template's output is read, in bytes.
const maxText = 64 << 10

// texts are the compiled templates of a mapping, nil where there is none.
type texts struct {
	title, message *template.Template
}

func newTexts(m *AlertMapping) (t texts, err error) {
	if t.title, err = compile("title", m.Title); err != nil {
		return t, err
	}
	t.message, err = compile("message", m.Message)
	return t, err
}

// compile tries a template on an alert that has nothing, so that a misspelt field is
// found when the configuration is read.
func compile(field, text string) (*template.Template, error) {
	if text == "" {
		return nil, nil
	}
	t, err := template.New(field).Option("missingkey=zero").Parse(text)
	if err == nil {
		err = t.Execute(&limited{}, &AlertText{Status: "firing"})
	}
	if err != nil && !errors.Is(err, errEnough) {
		return nil, &incident.Invalid{Field: field, Reason: "is not a template of an alert: " + strings.TrimPrefix(err.Error(), "template: ")}
	}
	return t, nil
}

// run returns "" if the template gives nothing or fails: a notice without its text is
// worth more than none.
func run(t *template.Template, of *AlertText) string {
	if t == nil {
		return ""
	}
	var out limited
	if err := t.Execute(&out, of); err != nil && !errors.Is(err, errEnough) {
		return ""
	}
	return strings.TrimSpace(out.String())
}

var errEnough = errors.New("enough")

// limited ends a template that writes too much.
type limited struct{ strings.Builder }

var _ io.Writer = (*limited)(nil)

func (l *limited) Write(b []byte) (int, error) {
	if l.Len()+len(b) > maxText {
		return 0, errEnough
	}
	return l.Builder.Write(b)
}

// label returns the first of the labels that the alert, or else its group, has.
func (n *notification) label(a *alert, names []string) string {
	for _, name := range names {
		if v := cmp.Or(a.Labels[name], n.CommonLabels[name]); v != "" {
			return v
		}
	}
	return ""
}
