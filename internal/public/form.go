package public

import (
	"bytes"
	"mime"
	"mime/multipart"
	"net/http"
	"net/url"
	"strings"

	"github.com/valyala/fasthttp"
)

// What a POST has to say (RFC 8058, section 3.2), to which the page's button keeps as
// well.
const (
	clickName  = "List-Unsubscribe"
	clickValue = "One-Click"
)

// formMemory is more than any form within maxBody takes: what exceeds it would be
// written to files.
const formMemory = 1 << 20

// oneClick reports whether a POST says that the subscription is to end, and which
// status to answer with if not.
func oneClick(ctx *fasthttp.RequestCtx) (status int, said bool) {
	body := ctx.PostBody()
	if len(body) > maxBody {
		return http.StatusRequestEntityTooLarge, false
	}
	said = strings.EqualFold(formValue(string(ctx.Request.Header.ContentType()), body), clickValue)
	return http.StatusBadRequest, said
}

// formValue returns the one-click field of a form in either encoding, "" if there is
// none.
func formValue(contentType string, body []byte) string {
	kind, parameters, err := mime.ParseMediaType(contentType)
	if err == nil && kind == "multipart/form-data" {
		form, err := multipart.NewReader(bytes.NewReader(body), parameters["boundary"]).ReadForm(formMemory)
		if err != nil || len(form.Value[clickName]) == 0 {
			return ""
		}
		return form.Value[clickName][0]
	}
	values, err := url.ParseQuery(string(body))
	if err != nil {
		return ""
	}
	return values.Get(clickName)
}
