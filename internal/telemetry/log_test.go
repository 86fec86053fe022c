package telemetry

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"testing"
)

func TestRedact(t *testing.T) {
	for text, want := range map[string]string{
		"":                               "",
		"plain":                          "plain",
		"amqp://user:hush@broker:5672/v": "amqp://…@broker:5672/v",
		`Post "https://u:hush@h.example/p?t=hush#hush": dial failed`: `Post "https://…@h.example/p?…": dial failed`,
		"https://h.example#hush":                                     "https://h.example?…",
		"https://h.example/docs/configuration.md is fine":            "https://h.example/docs/configuration.md is fine",
		"a://u:hu?sh@h/ b://c?hush":                                  "a://… b://c?…",
		"a://u:hu/sh@h/":                                             "a://…",
		"://":                                                        "://",
		"redis://:hush@h and postgres://hush@h/db?password=hush":     "redis://…@h and postgres://…@h/db?…",
	} {
		if got := Redact(text); got != want {
			t.Errorf("Redact(%q) = %q, want %q", text, got, want)
		}
	}
}

func FuzzRedact(f *testing.F) {
	for _, seed := range []string{"", "a://b:c@d/e?f#g", "x ://@?#@/", "é://ü@"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got := Redact(text)
		if Redact(got) != got {
			t.Errorf("redacting %q twice gives %q", got, Redact(got))
		}
		if !strings.Contains(text, "://") && got != text {
			t.Errorf("%q has no URL but became %q", text, got)
		}
		// A secret where URLs carry them is gone, whatever stands around it.
		for _, with := range []string{text + " https://u:S3CR3T@h/", text + " https://h/?S3CR3T", text + " https://h/#S3CR3T"} {
			if !strings.Contains(text, "S3CR3T") && strings.Contains(Redact(with), "S3CR3T") {
				t.Errorf("%q keeps its secret", with)
			}
		}
	})
}

func TestLoggerRedacts(t *testing.T) {
	const secret = "https://u:hush@h.example/?hush"
	u, err := url.Parse(secret)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	NewLogger(&out, slog.LevelInfo).With("with", secret).Info("see "+secret, "string", secret, "error", errors.New(secret),
		"wrapped", fmt.Errorf("dial: %w", errors.New(secret)), "url", u, "value", *u, "list", []string{secret},
		slog.Group("group", "inner", secret), "number", 7)
	var line map[string]any
	if err := json.Unmarshal(out.Bytes(), &line); err != nil {
		t.Fatalf("what is no terminal gets JSON: %v", err)
	}
	if strings.Contains(out.String(), "hush") {
		t.Errorf("the log shows a secret: %s", &out)
	}
	if line["error"] != "https://…@h.example/?…" || line["number"] != 7.0 {
		t.Errorf("the log is %s", &out)
	}
}

func TestLevels(t *testing.T) {
	var out bytes.Buffer
	log := NewLogger(&out, slog.LevelWarn)
	log.Info("quiet")
	log.Warn("loud")
	if text := out.String(); strings.Contains(text, "quiet") || !strings.Contains(text, "loud") {
		t.Errorf("the log is %s", text)
	}
	for name, want := range map[string]slog.Level{"debug": slog.LevelDebug, "info": slog.LevelInfo, "warn": slog.LevelWarn, "error": slog.LevelError} {
		if got, err := ParseLevel(name); err != nil || got != want {
			t.Errorf("ParseLevel(%q) = %v, %v", name, got, err)
		}
	}
	if _, err := ParseLevel("loud"); err == nil {
		t.Error("an unknown level is taken")
	}
}
