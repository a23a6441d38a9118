package tun

import (
	"bytes"
	"errors"
	"os"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestOpenRefusesBadOptions(t *testing.T) {
	for _, row := range []struct {
		name    string
		options Options
		want    string
	}{
		{"MTU below IPv6's minimum", Options{Name: "x", MTU: 1279}, "MTU 1279"},
		{"MTU too large", Options{Name: "x", MTU: 65536}, "MTU 65536"},
		{"unknown backend", Options{Name: "x", Backend: "fast"}, `unknown backend "fast"`},
	} {
		t.Run(row.name, func(t *testing.T) {
			_, err := Open(row.options)
			if err == nil || !strings.Contains(err.Error(), row.want) {
				t.Fatalf("Open = %v, want an error with %q", err, row.want)
			}
		})
	}
}

func TestFakeKeepsOrderAndDropsWhatDoesNotFit(t *testing.T) {
	f := NewFake("fake0", 1400)
	for _, size := range []int{10, 3000, 20} {
		if err := f.Send(bytes.Repeat([]byte{byte(size)}, size)); err != nil {
			t.Fatal(err)
		}
	}
	bufs, sizes := [][]byte{make([]byte, 1500), make([]byte, 1500)}, make([]int, 2)
	n, err := f.Read(bufs, sizes, Headroom)
	if err != nil || n != 2 || sizes[0] != 10 || sizes[1] != 20 {
		t.Fatalf("Read = %d, %v with sizes %v", n, err, sizes)
	}
	if _, err := f.Write([][]byte{bufs[0][:Headroom+10], bufs[1][:Headroom+20]}, Headroom); err != nil {
		t.Fatal(err)
	}
	if p, err := f.Receive(); err != nil || len(p) != 10 || f.Waiting() != 1 {
		t.Fatalf("Receive = %d bytes, %v; %d waiting", len(p), err, f.Waiting())
	}
	_ = f.Close()
	if _, err := f.Receive(); !errors.Is(err, os.ErrClosed) {
		t.Fatalf("Receive after Close = %v", err)
	}
}
