package replica

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// valueOf is what etcd has, "" for no key.
func valueOf(t *testing.T, client *clientv3.Client, key string) string {
	t.Helper()
	got, err := client.Get(t.Context(), key)
	if err != nil || len(got.Kvs) == 0 {
		return ""
	}
	return string(got.Kvs[0].Value)
}

func leaseOf(t *testing.T, client *clientv3.Client, key string) clientv3.LeaseID {
	t.Helper()
	got, err := client.Get(t.Context(), key)
	if err != nil || len(got.Kvs) == 0 {
		t.Fatalf("no key %s: %v", key, err)
	}
	return clientv3.LeaseID(got.Kvs[0].Lease)
}

func newRecord(client *clientv3.Client, value string) *LeasedRecord {
	l := NewLeasedRecord(LeasedRecordOptions{Client: client, Key: "/leased/a", TTL: 2 * time.Second, Log: quiet()})
	if value != "" {
		l.Set([]byte(value))
	}
	return l
}

func flush(t *testing.T, l *LeasedRecord) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := l.Flush(ctx); err != nil {
		t.Fatal("not written: ", err)
	}
}

func TestALeasedRecordIsThereWhileItsWriterRuns(t *testing.T) {
	t.Parallel()
	server := startEtcd(t, t.TempDir())
	defer server.Close()
	client := server.Client()
	l := newRecord(client, "")
	stop := background(t, l.Run)
	if valueOf(t, client, "/leased/a") != "" {
		t.Error("a record without a value is written")
	}
	for i := range 3 {
		l.Set([]byte(fmt.Sprint("value ", i)))
		flush(t, l)
		if got := valueOf(t, client, "/leased/a"); got != fmt.Sprint("value ", i) {
			t.Errorf("%q after value %d", got, i)
		}
	}
	if leaseOf(t, client, "/leased/a") == 0 {
		t.Error("the key does not go with a lease")
	}
	time.Sleep(3 * time.Second) // longer than the lease lives
	if valueOf(t, client, "/leased/a") != "value 2" {
		t.Error("the lease was not renewed")
	}
	stop()
	if got := valueOf(t, client, "/leased/a"); got != "" {
		t.Errorf("%q is left", got)
	}
	again := newRecord(client, "again")
	background(t, again.Run)
	flush(t, again)
	again.Withdraw()
	eventually(t, 5*time.Second, "withdrawn", func() bool { return valueOf(t, client, "/leased/a") == "" })
}

func TestALostLeaseIsTakenAnew(t *testing.T) {
	t.Parallel()
	server := startEtcd(t, t.TempDir())
	defer server.Close()
	client := server.Client()
	l := newRecord(client, "value")
	background(t, l.Run)
	flush(t, l)
	first := l.Written()
	if _, err := client.Revoke(t.Context(), leaseOf(t, client, "/leased/a")); err != nil {
		t.Fatal(err)
	}
	eventually(t, 5*time.Second, "written again", func() bool { return valueOf(t, client, "/leased/a") == "value" })
	if _, err := client.Delete(t.Context(), "/leased/a"); err != nil {
		t.Fatal(err)
	}
	eventually(t, 5*time.Second, "written again after it was deleted", func() bool { return valueOf(t, client, "/leased/a") == "value" })
	if l.Written() != first {
		t.Error("the first write is another one")
	}
}

func TestALeasedRecordComesBackAfterAnOutage(t *testing.T) {
	t.Parallel()
	server := startServer(t)
	hose, direct := server.hose(), server.client()
	l := newRecord(server.client(hose.addr), "before")
	background(t, l.Run)
	flush(t, l)
	hose.sever()
	l.Set([]byte("after"))
	eventually(t, 15*time.Second, "the lease has run out", func() bool { return valueOf(t, direct, "/leased/a") == "" })
	hose.mend()
	eventually(t, 10*time.Second, "written again", func() bool { return valueOf(t, direct, "/leased/a") == "after" })
}

func TestTheLaterWriterOfAKeyHasIt(t *testing.T) {
	t.Parallel()
	server := startEtcd(t, t.TempDir())
	defer server.Close()
	client := server.Client()
	older := newRecord(client, "older")
	stopOlder := background(t, older.Run)
	flush(t, older)
	later := newRecord(client, "later")
	stopLater := background(t, later.Run)
	flush(t, later)
	older.Set([]byte("older again"))
	time.Sleep(time.Second)
	if got := valueOf(t, client, "/leased/a"); got != "later" {
		t.Errorf("%q", got)
	}
	stopOlder() // an earlier process of the same name ends: that does not concern the later one
	if got := valueOf(t, client, "/leased/a"); got != "later" {
		t.Errorf("%q after the older writer ended", got)
	}
	third := newRecord(client, "third")
	background(t, third.Run)
	flush(t, third)
	stopLater()
	later = newRecord(client, "fourth")
	background(t, later.Run)
	flush(t, later)
	later.Withdraw()
	eventually(t, 10*time.Second, "the one that was displaced takes the key that is free", func() bool {
		return valueOf(t, client, "/leased/a") == "third"
	})
}

// TestALeasedRecordOutlivesAKilledWriterByItsLease kills a process at any point of its life: while it takes its lease,
// writes, changes its value, or ends. Nothing must be left for longer than a lease.
func TestALeasedRecordOutlivesAKilledWriterByItsLease(t *testing.T) {
	if addr := os.Getenv("LEASED_RECORD_ETCD"); addr != "" {
		writeUntilKilled(t, addr)
		return
	}
	server := startServer(t)
	client := server.client()
	seen := 0
	for round := range 12 {
		cmd := exec.Command(os.Args[0], "-test.run=^TestALeasedRecordOutlivesAKilledWriterByItsLease$")
		cmd.Env = append(os.Environ(), "LEASED_RECORD_ETCD="+server.addr)
		cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		if round%2 == 0 {
			eventually(t, 20*time.Second, "the writer writes", func() bool {
				return strings.HasPrefix(valueOf(t, client, "/leased/a"), fmt.Sprint(cmd.Process.Pid))
			})
			seen++
		}
		time.Sleep(time.Duration(round*7) * time.Millisecond)
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}
	eventually(t, 6*time.Second, "nothing is left", func() bool { return valueOf(t, client, "/leased/a") == "" })
	eventually(t, 6*time.Second, "no lease is left", func() bool {
		leases, err := client.Leases(t.Context())
		return err == nil && len(leases.Leases) == 0
	})
	if seen == 0 {
		t.Error("no writer wrote")
	}
}

// writeUntilKilled writes values and ends and begins anew, as fast as it can.
func writeUntilKilled(t *testing.T, addr string) {
	s := &server{t: t, addr: addr}
	client := s.client()
	for i := 0; ; i++ {
		l := newRecord(client, fmt.Sprint(os.Getpid(), " begins"))
		stop := background(t, l.Run)
		for j := range 10 {
			l.Set([]byte(fmt.Sprint(os.Getpid(), " ", i, " ", j)))
			time.Sleep(2 * time.Millisecond)
		}
		stop()
	}
}
