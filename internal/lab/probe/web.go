package probe

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"html"
	"io"
	"net"
	"net/http"
	"strconv"
	"time"
)

// maxFileSize bounds what /file serves, in bytes.
const maxFileSize = 1 << 40

// ServeWeb serves until ctx ends:
//
//	/                 a page with the device's name and the caller's address
//	/file?bytes=N     Content(N)
//	/sum?bytes=N      the SHA-256 of that file
//	/echo             after an upgrade to "echo": whatever is sent comes back (OpenEcho)
func ServeWeb(ctx context.Context, listener net.Listener, device string) error {
	server := &http.Server{Handler: webHandler(device), ReadHeaderTimeout: 10 * time.Second}
	stop := context.AfterFunc(ctx, func() { _ = server.Close() })
	defer stop()
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

func webHandler(device string) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		fmt.Fprintf(w, "<!doctype html><title>%[1]s</title><h1>This is %[1]s</h1><p>You came from %s.</p>\n",
			html.EscapeString(device), html.EscapeString(r.RemoteAddr))
	})
	mux.HandleFunc("GET /file", func(w http.ResponseWriter, r *http.Request) {
		size, ok := requestedSize(w, r)
		if !ok {
			return
		}
		w.Header().Set("Content-Type", "application/octet-stream")
		w.Header().Set("Content-Length", strconv.FormatInt(size, 10))
		_, _ = io.CopyBuffer(struct{ io.Writer }{w}, Content(size), make([]byte, 128<<10)) // the caller sees a short file
	})
	mux.HandleFunc("GET /echo", serveUpgradedEcho)
	mux.HandleFunc("GET /sum", func(w http.ResponseWriter, r *http.Request) {
		if size, ok := requestedSize(w, r); ok {
			fmt.Fprintln(w, ContentSum(size))
		}
	})
	return mux
}

func requestedSize(w http.ResponseWriter, r *http.Request) (int64, bool) {
	size, err := strconv.ParseInt(r.URL.Query().Get("bytes"), 10, 64)
	if err != nil || size < 0 || size > maxFileSize {
		http.Error(w, "want ?bytes=N with N from 0 to 2^40", http.StatusBadRequest)
		return 0, false
	}
	return size, true
}

// serveUpgradedEcho takes the connection over and echoes until it ends.
func serveUpgradedEcho(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Upgrade") != "echo" {
		http.Error(w, "want Upgrade: echo", http.StatusUpgradeRequired)
		return
	}
	conn, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Time{})
	if _, err := io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: echo\r\nConnection: Upgrade\r\n\r\n"); err != nil {
		return
	}
	_, _ = io.Copy(conn, buffered) // the other end judges the connection
}

// OpenEcho asks the web server at the other end of a fresh connection to echo from now on.
func OpenEcho(conn net.Conn) error {
	if _, err := io.WriteString(conn, "GET /echo HTTP/1.1\r\nHost: lab\r\nUpgrade: echo\r\nConnection: Upgrade\r\n\r\n"); err != nil {
		return fmt.Errorf("open the echo: %w", err)
	}
	// Byte by byte: nothing after the empty line may be consumed, and the server sends nothing unasked.
	var head []byte
	for one := make([]byte, 1); !bytes.HasSuffix(head, []byte("\r\n\r\n")); head = append(head, one[0]) {
		if _, err := io.ReadFull(conn, one); err != nil || len(head) > 1024 {
			return fmt.Errorf("open the echo: answer %q: %w", head, err)
		}
	}
	if !bytes.HasPrefix(head, []byte("HTTP/1.1 101 ")) {
		return fmt.Errorf("open the echo: answer %q", head)
	}
	return nil
}
