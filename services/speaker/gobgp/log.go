package gobgp

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"

	"github.com/osrg/gobgp/v3/pkg/log"
	"github.com/osrg/gobgp/v3/pkg/packet/bgp"

	"github.com/cyphonic/cyphonic/services/speaker"
)

// logger takes what a server logs, and learns from it why a session is not established: GoBGP says it nowhere else.
type logger struct {
	// constant after the server has started
	out     *slog.Logger
	changed func()

	// atomic
	established atomic.Bool // then what each message costs is not wanted

	mu     sync.Mutex
	peer   string
	why    string
	failed bool // to set the password of a listening socket
}

func newLogger(out *slog.Logger) *logger { return &logger{out: out} }

func (l *logger) begin(p speaker.Peer) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.peer, l.why, l.failed = p.Name, "", false
	l.established.Store(false)
}

func (l *logger) quiet(established bool) { l.established.Store(established) }

func (l *logger) reason() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.why
}

func (l *logger) learn(text string) {
	l.mu.Lock()
	l.why = text
	l.mu.Unlock()
}

// unprotected tells whether the listening socket does not ask for the password of the peer.
func (l *logger) unprotected() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.failed
}

// note learns from a line.
func (l *logger) note(msg string, f log.Fields) {
	switch msg {
	case "failed to connect":
		l.learn(fmt.Sprintf("cannot connect: %v", f["Error"]))
	case "Peer Down":
		l.learn(fmt.Sprintf("lost: %v", f["Reason"]))
	case "received notification":
		code, _ := f["Code"].(uint8)
		subcode, _ := f["Subcode"].(uint8)
		l.learn("the router ended it: " + bgp.NewNotificationErrorCode(code, subcode).String())
	case "sent notification":
		if e, ok := f["Data"].(*bgp.MessageError); ok {
			l.learn("ended: " + e.Message)
		}
	case "failed to set md5":
		l.mu.Lock()
		l.failed = true
		l.mu.Unlock()
	case "hold timer expired":
		l.learn("lost: nothing came from the router for the hold time")
	}
}

func (l *logger) write(level slog.Level, msg string, f log.Fields) {
	l.note(msg, f)
	l.mu.Lock()
	arguments := []any{"peer", l.peer}
	l.mu.Unlock()
	for _, key := range []string{"Key", "State", "Reason", "Error", "Err", "Code", "Subcode", "Family", "Data"} {
		if v, ok := f[key]; ok && (key != "Data" || level >= slog.LevelWarn) {
			arguments = append(arguments, key, fmt.Sprint(v))
		}
	}
	l.out.Log(context.Background(), level, "bgp: "+msg, arguments...)
}

// Panic and Fatal mean that GoBGP has lost its way: the process ends, and the system starts it anew.
func (l *logger) Panic(msg string, f log.Fields) {
	l.write(slog.LevelError, msg, f)
	panic("gobgp: " + msg)
}

// Fatal is Panic.
func (l *logger) Fatal(msg string, f log.Fields) { l.Panic(msg, f) }

// Error logs.
func (l *logger) Error(msg string, f log.Fields) { l.write(slog.LevelError, msg, f) }

// Warn logs.
func (l *logger) Warn(msg string, f log.Fields) { l.write(slog.LevelWarn, msg, f) }

// Info logs.
func (l *logger) Info(msg string, f log.Fields) { l.write(slog.LevelInfo, msg, f) }

// Debug logs.
func (l *logger) Debug(msg string, f log.Fields) { l.write(slog.LevelDebug, msg, f) }

// SetLevel does nothing: the level is that of the program.
func (l *logger) SetLevel(log.LogLevel) {}

// GetLevel asks for everything while there is no session, because the reasons are on the lowest level.
func (l *logger) GetLevel() log.LogLevel {
	if l.established.Load() {
		return log.InfoLevel
	}
	return log.DebugLevel
}
