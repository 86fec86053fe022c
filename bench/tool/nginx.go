package tool

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"text/template"
)

// Nginx serves one document, as a host would set it up that has nothing else to do.
type Nginx struct {
	*Server
	// URL is that of the document.
	URL string
}

const documentName = "feed.atom"

// nginxConfig is nginx as it comes (one worker a core, sendfile, ETag), but for: no
// log, open files remembered, and connections that are kept as long as the client
// likes, as the engine keeps them.
const nginxConfig = `daemon off;
worker_processes auto;
pid {{.Dir}}/nginx.pid;
error_log stderr warn;
{{if .Root}}user nobody nogroup;
{{end}}events { worker_connections 4096; }
http {
	access_log off;
	sendfile on;
	tcp_nopush on;
	etag on;
	gzip_static on;
	open_file_cache max=100 inactive=1h;
	open_file_cache_valid 1h;
	keepalive_requests 1000000000;
	types { application/atom+xml atom; }
	client_body_temp_path {{.Dir}}/body;
	proxy_temp_path {{.Dir}}/proxy;
	fastcgi_temp_path {{.Dir}}/fastcgi;
	uwsgi_temp_path {{.Dir}}/uwsgi;
	scgi_temp_path {{.Dir}}/scgi;
	server {
		listen {{.Address}} backlog=4096;
		root {{.Dir}}/www;
	}
}
`

// StartNginx serves a document, to those who accept gzip in packed, which is the same
// in gzip form; nil if that is not to be had. Both should be the bytes that the engine
// serves. The caller must Close it.
func StartNginx(document, packed []byte) (*Nginx, error) {
	program, err := Find("nginx", "nginx-light")
	if err != nil {
		return nil, err
	}
	if len(document) == 0 {
		return nil, errors.New("nginx gets no document to serve")
	}
	s, err := start(func(address string) (*Server, error) {
		dir, err := nginxFolder(document, packed, address)
		if err != nil {
			return nil, err
		}
		return &Server{dir: dir, cmd: exec.Command(program, "-e", "stderr", "-p", dir, "-c", filepath.Join(dir, "nginx.conf"))}, nil
	})
	if err != nil {
		return nil, err
	}
	n := &Nginx{Server: s, URL: "http://" + s.Address + "/" + documentName}
	if err := n.serves(); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return n, nil
}

// serves waits for the first answer: the port is open before there are workers, and
// they may not be let to the document.
func (n *Nginx) serves() error {
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: startTime}
	answer, err := client.Get(n.URL)
	if err != nil {
		return fmt.Errorf("nginx does not answer: %w", err)
	}
	_ = answer.Body.Close() // its head is enough
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("nginx answers %s: %s", answer.Status, n.said.String())
	}
	return nil
}

// nginxFolder writes everything that nginx reads.
func nginxFolder(document, packed []byte, address string) (dir string, err error) {
	dir, err = os.MkdirTemp("", "tocsin-nginx-")
	if err != nil {
		return "", fmt.Errorf("make nginx's folder: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("write nginx's folder: %w", err), os.RemoveAll(dir))
		}
	}()
	var config bytes.Buffer
	t, err := template.New("nginx").Parse(nginxConfig)
	if err != nil {
		return "", err
	}
	if err := t.Execute(&config, struct {
		Dir, Address string
		Root         bool
	}{dir, address, os.Getuid() == 0}); err != nil {
		return "", err
	}
	// Its workers, which are not us if we are root, read what is below.
	www := filepath.Join(dir, "www")
	if err := errors.Join(os.Chmod(dir, 0o755), os.Mkdir(www, 0o755)); err != nil {
		return "", err
	}
	err = errors.Join(
		os.WriteFile(filepath.Join(dir, "nginx.conf"), config.Bytes(), 0o600),
		os.WriteFile(filepath.Join(www, documentName), document, 0o644),
	)
	if err == nil && packed != nil {
		err = os.WriteFile(filepath.Join(www, documentName+".gz"), packed, 0o644)
	}
	return dir, err
}
