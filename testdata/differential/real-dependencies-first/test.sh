sh main.sh | sort
