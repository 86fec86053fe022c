package smtp

import (
	"encoding/base64"
	"strings"

	"github.com/tocsin/tocsin/channels"
)

// detail puts the relay's words behind our own, without what is part of the login or
// of the message, which is nil while there is none.
func detail(cause string, said channels.Words, r *relay, m *channels.Message) string {
	parts := []string{r.user, r.password,
		base64.StdEncoding.EncodeToString([]byte(r.user)), base64.StdEncoding.EncodeToString([]byte(r.password))}
	if m == nil {
		return channels.Detail(cause, said, nil, parts)
	}
	local, domain, _ := strings.Cut(m.Address, "@")
	return channels.Detail(cause, said, m.Secrets, append(parts, m.Address, local, domain))
}
