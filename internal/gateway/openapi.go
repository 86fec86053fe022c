package gateway

import (
	_ "embed"
	"net/http"
)

// openAPI describes every route, request and answer (OpenAPI 3.1). It is written
// by hand; the tests hold each of their answers against it.
//
//go:embed openapi.json
var openAPI []byte

func getOpenAPI(w http.ResponseWriter, _ *http.Request) error {
	w.Header().Set("Content-Type", "application/json")
	writeBody(w, http.StatusOK, openAPI)
	return nil
}
