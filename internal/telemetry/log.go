package telemetry

import (
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"os"
	"strings"

	"golang.org/x/term"
)

// NewLogger writes text to a terminal and JSON to everything else, from level
// on. URLs lose their credentials, queries and fragments, wherever they occur.
func NewLogger(w io.Writer, level slog.Leveler) *slog.Logger {
	opt := &slog.HandlerOptions{Level: level, ReplaceAttr: redactAttr}
	if f, ok := w.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		return slog.New(slog.NewTextHandler(w, opt))
	}
	return slog.New(slog.NewJSONHandler(w, opt))
}

// ParseLevel reads debug, info, warn or error.
func ParseLevel(s string) (slog.Level, error) {
	switch s {
	case "debug":
		return slog.LevelDebug, nil
	case "info":
		return slog.LevelInfo, nil
	case "warn":
		return slog.LevelWarn, nil
	case "error":
		return slog.LevelError, nil
	}
	return 0, fmt.Errorf("the log level must be debug, info, warn or error")
}

func redactAttr(_ []string, a slog.Attr) slog.Attr {
	switch a.Value.Kind() {
	case slog.KindString:
		a.Value = slog.StringValue(Redact(a.Value.String()))
	case slog.KindAny:
		switch v := a.Value.Any().(type) {
		case error:
			a.Value = slog.StringValue(Redact(v.Error()))
		case url.URL:
			a.Value = slog.StringValue(Redact(v.String()))
		case fmt.Stringer:
			a.Value = slog.StringValue(Redact(v.String()))
		case []string:
			clean := make([]string, len(v))
			for i, s := range v {
				clean[i] = Redact(s)
			}
			a.Value = slog.AnyValue(clean)
		}
	}
	return a
}

// Redact cuts credentials, queries and fragments out of every URL in a text, and
// leaves the rest alone.
func Redact(text string) string {
	if !strings.Contains(text, "://") {
		return text
	}
	var b strings.Builder
	for {
		start := strings.Index(text, "://")
		if start < 0 {
			b.WriteString(text)
			return b.String()
		}
		start += len("://")
		b.WriteString(text[:start])
		text = text[start:]
		end := strings.IndexAny(text, " \t\r\n\"'<>`|\\^")
		if end < 0 {
			end = len(text)
		}
		b.WriteString(redactRest(text[:end]))
		text = text[end:]
	}
}

// redactRest shortens what follows "://" of a URL. Where an "@" stands outside the
// authority, as in a password that was not escaped, nothing is certain and all of
// it goes.
func redactRest(rest string) string {
	end := strings.IndexAny(rest, "/?#")
	if end < 0 {
		end = len(rest)
	}
	authority, tail := rest[:end], rest[end:]
	if strings.Contains(tail, "@") {
		return "…"
	}
	if i := strings.LastIndexByte(authority, '@'); i >= 0 {
		authority = "…@" + authority[i+1:]
	}
	if i := strings.IndexAny(tail, "?#"); i >= 0 {
		tail = tail[:i] + "?…"
	}
	return authority + tail
}
