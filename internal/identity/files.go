package identity

import (
	"crypto/ed25519"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// LoadTrust reads a trust file.
func LoadTrust(path string) (Trust, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return Trust{}, fmt.Errorf("load trust: %w", err)
	}
	t, err := ParseTrust(b)
	if err != nil {
		return Trust{}, fmt.Errorf("load trust %s: %w", path, err)
	}
	return t, nil
}

// LoadDeviceKey reads a device key.
func LoadDeviceKey(path string) (*DeviceKey, error) {
	b, err := readPrivate(path)
	if err != nil {
		return nil, fmt.Errorf("load device key: %w", err)
	}
	k, err := ParseDeviceKey(b)
	if err != nil {
		return nil, fmt.Errorf("load device key %s: %w", path, err)
	}
	return k, nil
}

// SaveDeviceKey writes a device key, readable by its owner only, replacing an older one in one step.
func SaveDeviceKey(path string, k *DeviceKey) error {
	if err := writePrivate(path, k.EncodePEM()); err != nil {
		return fmt.Errorf("save device key: %w", err)
	}
	return nil
}

// LoadOrCreateDeviceKey reads the device key at path, or makes and saves one if there is no file. Any other
// failure is an error: a key that cannot be read is never replaced, as that would change the NodeID.
func LoadOrCreateDeviceKey(path string, rand io.Reader) (*DeviceKey, error) {
	k, err := LoadDeviceKey(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return k, err
	}
	if k, err = NewDeviceKey(rand); err != nil {
		return nil, err
	}
	if err := SaveDeviceKey(path, k); err != nil {
		return nil, err
	}
	return k, nil
}

// LoadIssuer reads the issuing key and its certificate.
func LoadIssuer(keyPath, certificatePath string) (*Issuer, error) {
	key, err := loadIssuerKey(keyPath)
	if err != nil {
		return nil, err
	}
	b, err := os.ReadFile(certificatePath)
	if err != nil {
		return nil, fmt.Errorf("load issuer certificate: %w", err)
	}
	certificate, err := ParseIssuerCertificatePEM(b)
	if err != nil {
		return nil, fmt.Errorf("load issuer certificate %s: %w", certificatePath, err)
	}
	issuer, err := NewIssuer(key, certificate)
	if err != nil {
		return nil, fmt.Errorf("load issuer %s: %w", certificatePath, err)
	}
	return issuer, nil
}

func loadIssuerKey(path string) (ed25519.PrivateKey, error) {
	if err := CheckPrivate(path); err != nil {
		return nil, fmt.Errorf("load issuer key: %w", err)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("load issuer key: %w", err)
	}
	key, err := ParseIssuerKey(b)
	if err != nil {
		return nil, fmt.Errorf("load issuer key %s: %w", path, err)
	}
	return key, nil
}

// readPrivate refuses a file that others can read or write.
func readPrivate(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("%s is accessible to others (mode %04o): chmod 600 it", path, info.Mode().Perm())
	}
	return os.ReadFile(path)
}

// writePrivate writes a temporary file beside path and renames it, so that a crash leaves the old or the new.
func writePrivate(path string, b []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) //nolint:errcheck // fails after the rename, as it should
	if _, err := f.Write(b); err != nil {
		return errors.Join(err, f.Close())
	}
	if err := f.Sync(); err != nil {
		return errors.Join(err, f.Close())
	}
	if err := f.Close(); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
