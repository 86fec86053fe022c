package smtp

import (
	"crypto/rand"
	"embed"
	"errors"
	"fmt"
	"html"
	htmltemplate "html/template"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
	texttemplate "text/template"
	"time"
)

// formatTocsin is the built-in format; a target without one has it.
const formatTocsin = "tocsin"

//go:embed templates/*.tmpl
var builtIn embed.FS

// template is what a text/template and an html/template have in common.
type template interface {
	Execute(to io.Writer, data any) error
}

// format is how a mail of one format is written.
type format struct{ subject, text, html template }

func (f *format) fill(from *format) {
	for into, own := range map[*template]template{&f.subject: from.subject, &f.text: from.text, &f.html: from.html} {
		if *into == nil {
			*into = own
		}
	}
}

// templates are the formats by name. mark is what stands for the unsubscribe link
// while templates run: a URL, so that it passes the escaping of HTML unchanged, that
// no text of an event can contain, for it is drawn at start.
type templates struct {
	formats map[string]*format
	mark    string
}

// The files of a format NAME are NAME.subject.tmpl, NAME.txt.tmpl and NAME.html.tmpl.
const (
	subjectSuffix = ".subject.tmpl"
	textSuffix    = ".txt.tmpl"
	htmlSuffix    = ".html.tmpl"
)

// loadTemplates reads the built-in format and what is in dir, if that is not empty.
// A file that a format lacks is the built-in one's.
func loadTemplates(dir string) (*templates, error) {
	t := &templates{
		formats: map[string]*format{},
		mark:    "https://unsubscribe.invalid/" + strings.ToLower(rand.Text()),
	}
	own, err := fs.Sub(builtIn, "templates")
	if err != nil {
		return nil, fmt.Errorf("built-in templates: %w", err)
	}
	if err := t.load(own); err != nil {
		return nil, err
	}
	if dir != "" {
		if err := t.load(os.DirFS(dir)); err != nil {
			return nil, fmt.Errorf("templates in %s: %w", dir, err)
		}
	}
	for _, f := range t.formats {
		f.fill(t.formats[formatTocsin])
	}
	return t, nil
}

func (t *templates) load(from fs.FS) error {
	files, err := fs.ReadDir(from, ".")
	if err != nil {
		return err
	}
	files = slices.DeleteFunc(files, func(file fs.DirEntry) bool { return !strings.HasSuffix(file.Name(), ".tmpl") })
	if len(files) == 0 {
		return errors.New("there are none; their names end in .tmpl")
	}
	for _, file := range files {
		name := file.Name()
		source, err := fs.ReadFile(from, name)
		if err != nil {
			return err
		}
		if err := t.add(name, string(source)); err != nil {
			return err
		}
	}
	return nil
}

func (t *templates) add(name, source string) error {
	base, of := name, ""
	for _, suffix := range []string{subjectSuffix, textSuffix, htmlSuffix} {
		if cut, ok := strings.CutSuffix(name, suffix); ok {
			base, of = cut, suffix
		}
	}
	if of == "" || base == "" {
		return fmt.Errorf("%s: the name must end in %s, %s or %s, with the format before it", name, subjectSuffix, textSuffix, htmlSuffix)
	}
	f := t.formats[base]
	if f == nil {
		f = new(format)
		t.formats[base] = f
	}
	var err error
	switch of {
	case subjectSuffix:
		f.subject, err = texttemplate.New(name).Option("missingkey=error").Funcs(functions()).Parse(source)
	case textSuffix:
		f.text, err = texttemplate.New(name).Option("missingkey=error").Funcs(functions()).Parse(source)
	case htmlSuffix:
		f.html, err = htmltemplate.New(name).Option("missingkey=error").Funcs(functions()).Parse(source)
	}
	return err
}

// functions are what templates have besides the usual ones.
func functions() map[string]any {
	return map[string]any{
		// when writes a time for people, in UTC.
		"when": func(t time.Time) string { return t.UTC().Format("2 Jan 2006, 15:04 UTC") },
		// label writes a status or impact for people: "In progress".
		"label": func(word any) string {
			text := strings.ReplaceAll(fmt.Sprint(word), "_", " ")
			if text == "" {
				return ""
			}
			return strings.ToUpper(text[:1]) + text[1:]
		},
	}
}

// trial renders each format, so that a template that fails does so at start, and
// looks whether the unsubscribe link survives it.
func (c *Channel) trial() error {
	for name := range c.templates.formats {
		for _, u := range trialUpdates() {
			_, texts, err := c.write(&u, name, "en")
			if err != nil {
				return fmt.Errorf("smtp: templates of %q: %w", name, err)
			}
			if err := c.templates.checkMark(texts); err != nil {
				return fmt.Errorf("smtp: templates of %q: %w", name, err)
			}
		}
	}
	return nil
}

// checkMark looks for what is left of the mark when it is taken out: a template that
// changed the link would send a broken one.
func (t *templates) checkMark(m written) error {
	token := t.mark[strings.LastIndexByte(t.mark, '/')+1:]
	for _, text := range []string{m.subject, m.text, m.html} {
		rest := strings.ToLower(html.UnescapeString(strings.ReplaceAll(text, t.mark, "")))
		if strings.Contains(rest, token) {
			return errors.New("use {{.Unsubscribe}} as it is, as text or as a whole href; it can't be cut or changed")
		}
	}
	return nil
}
