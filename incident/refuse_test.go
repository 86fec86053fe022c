package incident

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

func TestDecodeRefuses(t *testing.T) {
	rss := func(i int) string { return fmt.Sprintf(`{"channel":"rss","address":"f%d"}`, i) }
	link := func(int) string { return `{"url":"https://a.example"}` }
	locales := func(n int) string {
		parts := make([]string, n)
		for i := range parts {
			parts[i] = fmt.Sprintf(`"en-x%d":{"title":"t"}`, i)
		}
		return "{" + strings.Join(parts, ",") + "}"
	}
	publicDetails := func(n int) string {
		parts := make([]string, n)
		for i := range parts {
			parts[i] = fmt.Sprintf(`"d%d":%d`, i, i)
		}
		return "{" + strings.Join(parts, ",") + "}"
	}
	for name, c := range map[string]struct{ data, field string }{
		"nothing":           {``, "event"},
		"spaces":            {`  `, "event"},
		"null":              {`null`, "event"},
		"list":              {`[]`, "event"},
		"string":            {`"x"`, "event"},
		"cut short":         {minimal[:40], "event"},
		"trailing data":     {minimal + `{}`, "event"},
		"trailing bracket":  {minimal + `]`, "event"},
		"comment":           {minimal + `//`, "event"},
		"BOM":               {"\ufeff" + minimal, "event"},
		"invalid UTF-8":     {with("title", "\"\xff\""), "event"},
		"overlong NUL":      {with("title", "\"\xc0\x80\""), "event"},
		"high surrogate":    {with("title", `"\ud800"`), "event"},
		"high before other": {with("title", `"\ud800\u0041"`), "event"},
		"low surrogate":     {with("title", `"\udc00x"`), "event"},
		"too deep":          {with("x", strings.Repeat("[", 40)+strings.Repeat("]", 40)), "event"},
		"depth 10,000":      {strings.Repeat(`{"a":`, 10000), "event"},
		"depth 200,000":     {strings.Repeat("[", 200000), "event"},
		"1 MiB of spaces":   {minimal + strings.Repeat(" ", MaxEventBytes), "event"},
		"over 1 MiB":        {with("details", `"`+strings.Repeat("a", MaxEventBytes)+`"`), "event"},
		"repeated field":    {strings.Replace(minimal, "{", `{"status":"resolved",`, 1), "status"},
		"repeated, escaped": {strings.Replace(minimal, "{", `{"st\u0061tus":"resolved",`, 1), "status"},
		"repeated, nested":  {with("x", `[{"y":{"k":1,"k":1}}]`), "k"},
		"field in capitals": {strings.Replace(minimal, "status", "Status", 1), "Status"},
		"field folded":      {with("\u017ftatus", `"resolved"`), "\u017ftatus"},
		"lone CR":           {with("message", `"a\rb"`), "message"},
		"hidden CR LF":      {with("message", `"a\r\u200b\nb"`), "message"},
		"NUL in message":    {with("message", `"a\u0000"`), "message"},
		"C1 in message":     {with("message", `"a\u0085b"`), "message"},
		"escape in message": {with("message", `"\u001b[2J"`), "message"},

		"public_details list":     {with("public_details", `["E-1"]`), "public_details"},
		"public detail null":      {with("public_details", `{"a":null}`), "public_details.a"},
		"public detail bool":      {with("public_details", `{"a":true}`), "public_details.a"},
		"public detail object":    {with("public_details", `{"a":{"b":1}}`), "public_details.a"},
		"public detail empty":     {with("public_details", `{"a":" "}`), "public_details.a"},
		"public detail nameless":  {with("public_details", `{" ":"b"}`), "public_details. "},
		"public detail twice":     {with("public_details", `{"a":"b","a ":"c"}`), "public_details.a "},
		"public detail in lines":  {with("public_details", `{"a":"b\nc"}`), "public_details.a"},
		"public detail long":      {with("public_details", `{"a":"`+strings.Repeat("b", 513)+`"}`), "public_details.a"},
		"public details, many":    {with("public_details", publicDetails(33)), "public_details"},
		"no incident_id":          {with("incident_id", ""), "incident_id"},
		"no status":               {with("status", ""), "status"},
		"null status":             {with("status", "null"), "status"},
		"no impact":               {with("impact", ""), "impact"},
		"no affected_components":  {with("affected_components", ""), "affected_components"},
		"null components":         {with("affected_components", "null"), "affected_components"},
		"no started_at":           {with("started_at", ""), "started_at"},
		"incident_id blank":       {with("incident_id", `" "`), "incident_id"},
		"incident_id number":      {with("incident_id", `8892`), "incident_id"},
		"incident_id too long":    {with("incident_id", quote(strings.Repeat("i", 129))), "incident_id"},
		"incident_id CRLF":        {with("incident_id", `"INC-1\r\nBcc: x"`), "incident_id"},
		"incident_id ending CRLF": {with("incident_id", `"INC-1\r\n"`), "incident_id"},
		"incident_id NUL":         {with("incident_id", `"INC\u0000"`), "incident_id"},
		"incident_id bidi":        {with("incident_id", `"INC\u202e1"`), "incident_id"},
		"incident_id zero width":  {with("incident_id", `"INC\u200b1"`), "incident_id"},
		"status unknown":          {with("status", `"down"`), "status"},
		"status in capitals":      {with("status", `"Resolved"`), "status"},
		"status list":             {with("status", `["resolved"]`), "status"},
		"impact unknown":          {with("impact", `"huge"`), "impact"},
		"impact empty":            {with("impact", `""`), "impact"},
		"visibility unknown":      {with("visibility", `"secret"`), "visibility"},
		"visibility empty":        {with("visibility", `""`), "visibility"},
		"test string":             {with("test", `"true"`), "test"},
		"page odd":                {with("page", `"a/b"`), "page"},
		"page dots":               {with("page", `".."`), "page"},
		"page too long":           {with("page", quote(strings.Repeat("p", 65))), "page"},
		"update_id too long":      {with("update_id", quote(strings.Repeat("u", 256))), "update_id"},
		"update_id newline":       {with("update_id", `"a\nb"`), "update_id"},
		"title too long":          {with("title", quote(strings.Repeat("ü", 513))), "title"},
		"title of two lines":      {with("title", `"a\nb"`), "title"},
		"title separator":         {with("title", `"a\u2028b"`), "title"},
		"title DEL":               {with("title", `"a\u007f"`), "title"},
		"message too long":        {with("message", quote(strings.Repeat("m", 64<<10+1))), "message"},
		"started_at empty":        {with("started_at", `""`), "started_at"},
		"started_at date":         {with("started_at", `"2023-11-20"`), "started_at"},
		"started_at comma":        {with("started_at", `"2023-11-20T14:30:00,5Z"`), "started_at"},
		"started_at short hour":   {with("started_at", `"2023-11-20T4:30:00Z"`), "started_at"},
		"started_at local":        {with("started_at", `"2023-11-20T14:30:00"`), "started_at"},
		"started_at far east":     {with("started_at", `"2023-11-20T14:30:00+24:00"`), "started_at"},
		"started_at number":       {with("started_at", `1700490600`), "started_at"},
		"started_at 1969":         {with("started_at", `"1969-12-31T23:59:59Z"`), "started_at"},
		"updated_at 1970 in east": {with("updated_at", `"1970-01-01T00:00:00+01:00"`), "updated_at"},
		"resolved_at 10000":       {with("resolved_at", `"9999-12-31T23:59:59-01:00"`), "resolved_at"},
		"expires_at 1600":         {with("expires_at", `"1600-01-01T00:00:00Z"`), "expires_at"},

		"too many components":  {with("affected_components", list(1001, func(i int) string { return fmt.Sprintf(`"c%d"`, i) })), "affected_components"},
		"component not text":   {with("affected_components", `["a",1]`), "affected_components"},
		"component null":       {with("affected_components", `["a",null]`), "affected_components[1]"},
		"component empty":      {with("affected_components", `["a",""]`), "affected_components[1]"},
		"component too long":   {with("affected_components", list(1, func(int) string { return quote(strings.Repeat("c", 129)) })), "affected_components[0]"},
		"component zero width": {with("affected_components", `["a\u200b"]`), "affected_components[0]"},
		"status map a list":    {with("components", `["a"]`), "components"},
		"status of number":     {with("components", `{"a":1}`), "components"},
		"status empty":         {with("components", `{"a":""}`), "components.a"},
		"status two lines":     {with("components", `{"a":"x\ny"}`), "components.a"},
		"status id twice":      {with("components", `{"a":"x","a ":"y"}`), "components.a "},
		"status id bidi":       {with("components", `{"a\u202e":"x"}`), `components."a\u202e"`},

		"callback of another kind": {with("callback_url", `{"url":"https://a.example/"}`), "callback_url"},
		"callback relative":        {with("callback_url", `"//a.example/x"`), "callback_url"},
		"callback gopher":          {with("callback_url", `"gopher://a.example/x"`), "callback_url"},
		"callback with user":       {with("callback_url", `"https://a:b@a.example/"`), "callback_url"},
		"callback CRLF":            {with("callback_url", `"https://a.example/\r\nx"`), "callback_url"},
		"callback zero width":      {with("callback_url", `"https://a.example/\u200bx"`), "callback_url"},
		"callback too long":        {with("callback_url", quote("https://a.example/"+strings.Repeat("a", 2<<10))), "callback_url"},
		"callback in capitals":     {with("Callback_URL", `"https://a.example/"`), "Callback_URL"},

		"links object":           {with("links", `{}`), "links"},
		"too many links":         {with("links", list(21, link)), "links"},
		"link null":              {with("links", `[null]`), "links[0]"},
		"link without url":       {with("links", `[{"title":"t"}]`), "links[0].url"},
		"link javascript":        {with("links", `[{"url":"https://a.example"},{"url":"javascript:alert(1)"}]`), "links[1].url"},
		"link data":              {with("links", `[{"url":"data:text/html,x"}]`), "links[0].url"},
		"link relative":          {with("links", `[{"url":"//a.example/x"}]`), "links[0].url"},
		"link without host":      {with("links", `[{"url":"https:///x"}]`), "links[0].url"},
		"link opaque":            {with("links", `[{"url":"http:a.example"}]`), "links[0].url"},
		"link with user":         {with("links", `[{"url":"https://bank.example@evil.example/"}]`), "links[0].url"},
		"link with tab":          {with("links", `[{"url":"https://a.example/\tb"}]`), "links[0].url"},
		"link too long":          {with("links", `[{"url":"https://a.example/`+strings.Repeat("a", 2048)+`"}]`), "links[0].url"},
		"link title two lines":   {with("links", `[{"url":"https://a.example","title":"a\nb"}]`), "links[0].title"},
		"link rel":               {with("links", `[{"url":"https://a.example","rel":"a\nb"}]`), "links[0].rel"},
		"too many translations":  {with("translations", locales(51)), "translations"},
		"translation text":       {with("translations", `{"de":"x"}`), "translations.de"},
		"translation locale":     {with("translations", `{"d":{"title":"x"}}`), "translations.d"},
		"translation path":       {with("translations", `{"../../etc":{"title":"x"}}`), "translations.../../etc"},
		"translation twice":      {with("translations", `{"pt-BR":{},"pt_br":{}}`), "translations.pt_br"},
		"translation two lines":  {with("translations", `{"de":{"title":"a\nb"}}`), "translations.de.title"},
		"translation NUL":        {with("translations", `{"de":{"message":"\u0000"}}`), "translations.de.message"},
		"translation type":       {with("translations", `{"de":{"message":5}}`), "translations.de.message"},
		"too many targets":       {with("targets", list(1001, rss)), "targets"},
		"target null":            {with("targets", `[null]`), "targets[0]"},
		"target without address": {with("targets", `[{"channel":"rss","address":"a"},{"channel":"smtp"}]`), "targets[1].address"},
		"target unknown field":   {with("targets", `[{"channel":"rss","address":"a","url":"x"}]`), "targets[0].url"},
		"target with id":         {with("targets", `[{"id":"7","channel":"rss","address":"a"}]`), "targets[0].id"},
		"target secret":          {with("targets", `[{"channel":"rss","address":"a","secrets":["x"]}]`), "targets[0].secrets[0]"},
		"too much extra":         {with("x", quote(strings.Repeat("x", 64<<10))), "event"},
		"1 MiB by defaults": {with("targets", list(1000, rss))[:1] + `"details":"` + strings.Repeat("d", MaxEventBytes-100<<10) + `",` +
			with("targets", list(1000, rss))[1:], "event"},
	} {
		t.Run(name, func(t *testing.T) {
			e, err := Decode([]byte(c.data))
			if err == nil {
				t.Fatalf("taken as %#v", e)
			}
			wantInvalid(t, err, c.field)
		})
	}
}

func TestRefusalsRepeatNoValue(t *testing.T) {
	const value = "hunter2"
	for _, field := range strings.Fields(fieldNames) {
		for _, raw := range []string{
			quote(value + "\x00"), `["` + value + `\u0000"]`, `[{"` + value + `":1}]`,
			`[{"url":"` + value + `:x","channel":"` + value + `","address":"` + value + `"}]`,
			`[{"channel":"smtp","address":"` + value + `"}]`,
			`[{"channel":"smpp","address":"+49` + value + `"}]`,
			`[{"channel":"webhook","address":"https://[` + value + `"}]`,
			`[{"channel":"rss","address":"a","secrets":["whsec_` + value + `"]}]`,
		} {
			_, err := Decode([]byte(with(field, raw)))
			if err == nil {
				continue // details take anything
			}
			invalid, ok := errors.AsType[*Invalid](err)
			if !ok {
				t.Fatalf("%s: %v", field, err)
			}
			checkRefusal(t, invalid)
			// The names of unknown fields are shown; values never are.
			if strings.Contains(invalid.Reason, value) || strings.Contains(invalid.Field, value) && !strings.Contains(raw, `{"`+value) {
				t.Errorf("%s: the refusal repeats the value: %v", field, err)
			}
		}
	}
}

func TestLongNamesAreCut(t *testing.T) {
	long := strings.Repeat("ü", 5000)
	_, err := Decode([]byte(with("targets", `[{"`+long+`":1}]`)))
	wantInvalid(t, err, "targets[0]."+strings.Repeat("ü", 32)+"…")
}
