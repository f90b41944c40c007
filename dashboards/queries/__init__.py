"""What the pages ask; nothing in here knows Streamlit."""
