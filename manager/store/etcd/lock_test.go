package etcd

import (
	"context"
	"strings"
	"testing"
	"time"
)

// An etcd server would wait for its directory for ever, deaf to the context.
func TestADataDirectoryInUseIsRefusedAtOnce(t *testing.T) {
	dir := t.TempDir()
	first := startEmbedded(t, dir)
	refused := make(chan error, 1)
	go func() {
		_, err := StartEmbedded(context.Background(), dir, quiet())
		refused <- err
	}()
	select {
	case err := <-refused:
		if err == nil || !strings.Contains(err.Error(), "another process uses the data directory "+dir) {
			t.Errorf("the second server: %v", err)
		}
	case <-time.After(10 * time.Second):
		t.Error("the second server waits")
	}
	first.Close()
	startEmbedded(t, dir).Close()
}
