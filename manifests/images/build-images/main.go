// Command build-images builds the programs statically and writes an OCI archive for each image into a folder:
// `build-images -out build/images -tag 1.2.3 -platforms amd64,arm64`. It is run by make images and is not installed.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"

	"github.com/cyphonic/cyphonic/manifests/images"
)

// unprivileged is the user of all images: nobody that a system knows.
const unprivileged = 65532

func main() {
	out := flag.String("out", "build/images", "folder for the archives")
	tag := flag.String("tag", "dev", "tag of the images")
	platforms := flag.String("platforms", "amd64,arm64", "processors, as Go names them")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	for _, p := range programs() {
		if err := p.build(ctx, *out, *tag, strings.Split(*platforms, ",")); err != nil {
			fmt.Fprintln(os.Stderr, "build-images:", err)
			stop()
			os.Exit(1)
		}
	}
}

// program is what one image holds.
type program struct{ name, source string }

// programs lists the images. etcd is the one of our own dependencies, for clusters that have none.
func programs() []program {
	return []program{
		{"cyphonicd", "./cmd/cyphonicd"},
		{"cyphonicctl", "./cmd/cyphonicctl"},
		{"etcd", "go.etcd.io/etcd/server/v3"},
	}
}

// build writes the image of one program.
func (p program) build(ctx context.Context, out, tag string, architectures []string) error {
	program := p.name
	image := images.Image{
		Name: "cyphonic/" + program, Tag: tag, Entrypoint: []string{"/" + program}, User: fmt.Sprintf("%d:%d", unprivileged, unprivileged),
		Labels: map[string]string{"org.opencontainers.image.title": program, "org.opencontainers.image.version": tag},
	}
	for _, architecture := range architectures {
		content, err := p.compile(ctx, tag, architecture)
		if err != nil {
			return err
		}
		image.Platforms = append(image.Platforms, images.Platform{Architecture: architecture, Files: []images.File{
			{Path: program, Mode: 0o555, Content: content},
			{Path: "tmp/", Mode: 0o1777},
			{Path: "var/", Mode: 0o755},
			{Path: "var/lib/", Mode: 0o755},
			{Path: "var/lib/" + dataFolder(program) + "/", Mode: 0o700, Owner: unprivileged},
		}})
	}
	if err := os.MkdirAll(out, 0o755); err != nil {
		return err
	}
	path := filepath.Join(out, program+".oci.tar")
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	digest, err := images.Write(file, image)
	if closeErr := file.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	fmt.Printf("%s  %s:%s@%s\n", path, image.Name, tag, digest)
	return nil
}

// dataFolder is what a program may write to if a volume is mounted there.
func dataFolder(program string) string {
	if program == "etcd" {
		return "etcd"
	}
	return "cyphonic"
}

// compile builds a program so that the same source gives the same bytes wherever it lies.
func (p program) compile(ctx context.Context, tag, architecture string) ([]byte, error) {
	folder, err := os.MkdirTemp("", "build-images-")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(folder) }()
	path := filepath.Join(folder, p.name)
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false",
		"-ldflags=-s -w -buildid= -X github.com/cyphonic/cyphonic/internal/program.release="+tag, "-o", path, p.source)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+architecture, "GOFLAGS=")
	cmd.Stderr = os.Stderr
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("build %s for %s: %w", p.name, architecture, err)
	}
	return os.ReadFile(path)
}
