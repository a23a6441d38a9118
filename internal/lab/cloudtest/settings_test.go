package cloudtest

import (
	"os"
	"strconv"
	"testing"
	"time"
)

// number reads a setting from the environment.
func number(t *testing.T, name string, missing int) int {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return missing
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		t.Fatalf("%s is %q, must be a positive number", name, text)
	}
	return n
}

func seconds(t *testing.T, name string, missing int) time.Duration {
	t.Helper()
	return time.Duration(number(t, name, missing)) * time.Second
}
