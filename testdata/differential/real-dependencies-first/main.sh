cat vendor/*/package
