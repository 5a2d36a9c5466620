# Two commands matter: `make demo` shows what Holdfast does, `make test` proves it.

GO      ?= go
BIN     := bin
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
LDFLAGS := -s -w -X github.com/holdfast-iot/holdfast/server.Version=$(VERSION)

# What the tests use from Debian: real databases, TPMs, HSMs and clients.
PACKAGES := postgresql swtpm swtpm-tools tpm2-tools softhsm2 opensc openssl curl gcc libc6-dev mosquitto-clients nodejs node-ws chromium

STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.7.0
GOVULNCHECK := golang.org/x/vuln/cmd/govulncheck@v1.9.0

.PHONY: build demo test check bench pictures deps cross fuzz clean

build: ## the programs, static
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o $(BIN)/holdfast ./cmd/holdfast
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o $(BIN)/holdfast-signer ./cmd/holdfast-signer

demo: build ## a simulated fleet on embedded storage; ctrl-C ends it
	$(BIN)/holdfast up --demo --data demo-data

test: deps check ## everything: checks, unit, contract, scenario and crash tests
	$(GO) test -race -timeout 20m ./...

check: ## what needs no server: format, vet, layers, lint, known vulnerabilities
	@test -z "$$(gofmt -l $$(git ls-files '*.go'))" || { echo "gofmt would change:"; gofmt -l $$(git ls-files '*.go'); exit 1; }
	$(GO) vet ./...
	$(GO) vet -tags pkcs11 ./cmd/holdfast-signer
	$(GO) run $(STATICCHECK) ./...
	@if curl -sf -m 5 -o /dev/null https://vuln.go.dev/index/db.json; then $(GO) run $(GOVULNCHECK) ./...; \
	else echo "govulncheck: the vulnerability database cannot be reached from here: not run"; fi
	$(MAKE) --no-print-directory cross

cross: ## the platforms that the programs must build for
	for arch in amd64 arm64 arm; do CGO_ENABLED=0 GOOS=linux GOARCH=$$arch $(GO) build -o /dev/null ./cmd/holdfast || exit 1; done

bench: ## side by side with peers; writes docs/performance.md
	$(GO) run ./bench

pictures: ## take the pictures in docs/pictures anew
	HOLDFAST_PICTURES=1 $(GO) test -count=1 -run TestPictures ./test/browser

fuzz: ## every fuzz target for FUZZTIME (default 20s) each
	@for pkg in $$($(GO) list ./...); do \
	  for f in $$($(GO) test -list '^Fuzz' $$pkg 2>/dev/null | grep '^Fuzz'); do \
	    echo "$$pkg $$f"; $(GO) test -run '^$$' -fuzz "^$$f$$" -fuzztime $${FUZZTIME:-20s} -fuzzminimizetime 10x $$pkg || exit 1; \
	  done; done

deps: ## install what the tests need, where apt is
	@missing=""; for p in $(PACKAGES); do dpkg -s $$p >/dev/null 2>&1 || missing="$$missing $$p"; done; \
	if [ -n "$$missing" ]; then \
	  echo "installing:$$missing"; \
	  sudo=; [ "$$(id -u)" = 0 ] || sudo=sudo; \
	  $$sudo apt-get update -qq && DEBIAN_FRONTEND=noninteractive $$sudo apt-get install -y -qq --no-install-recommends $$missing; \
	fi

clean:
	rm -rf $(BIN) demo-data
