package keystore

import (
	"crypto"
	"path/filepath"
	"testing"
)

func BenchmarkSignFile(b *testing.B) {
	s, _ := fileStore(b)
	benchmark(b, s)
}

func BenchmarkSignTPM(b *testing.B) {
	s, err := TPM(startTPM(b).socket, filepath.Join(b.TempDir(), "keys"))
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	benchmark(b, s)
}

func BenchmarkSignSoftHSM(b *testing.B) {
	benchmark(b, remote(b, startSigner(b, "--log-every", "1000").socket))
}

// benchmark signs P-256 digests from as many goroutines as there are processors.
func benchmark(b *testing.B, s Store) {
	key, err := s.Create(b.Context(), "a", P256)
	if err != nil {
		b.Fatal(err)
	}
	digest := sha("x")
	b.ResetTimer()
	b.RunParallel(func(p *testing.PB) {
		for p.Next() {
			if _, err := key.Sign(nil, digest, crypto.SHA256); err != nil {
				b.Error(err)
			}
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "signatures/s")
}
